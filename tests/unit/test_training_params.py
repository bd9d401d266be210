"""The parameters of a trial remember what was read."""

import pytest

from trainables.training.params import MissingParameter, Params, UnreadParameters


def test_an_unread_parameter_is_named() -> None:
    params = Params({"lr": 1e-3, "momentum": 0.9, "alpha": 0.99})
    assert params.number("lr") == 1e-3
    with pytest.raises(UnreadParameters, match="'alpha', 'momentum' of the space are read by nothing") as caught:
        params.check_all_read()
    assert caught.value.names == ("alpha", "momentum")


def test_one_unread_parameter_is_singular() -> None:
    with pytest.raises(UnreadParameters, match="parameter 'x' of the space is read by nothing"):
        Params({"x": 1}).check_all_read()


def test_everything_read_passes() -> None:
    params = Params({"lr": 1, "optimizer": "adam", "latent": 2})
    assert (params.number("lr"), params.text("optimizer"), params.integer("latent")) == (1.0, "adam", 2)
    params.check_all_read()


def test_looking_whether_a_name_is_there_is_not_reading_it() -> None:
    params = Params({"lr": 1.0})
    assert "lr" in params
    assert "beta" not in params
    assert params.unread() == ("lr",)


def test_a_missing_parameter_is_named_and_a_default_stands_in() -> None:
    params = Params({})
    assert params.number("beta", 1.0) == 1.0
    with pytest.raises(MissingParameter, match="needs the parameter 'lr'") as caught:
        params.number("lr")
    assert caught.value.name == "lr"


@pytest.mark.parametrize(("kind", "value"), [("number", "1"), ("number", True), ("integer", 1.0), ("text", 1)])
def test_a_value_of_the_wrong_kind_is_refused(kind: str, value: float | str) -> None:
    with pytest.raises(ValueError, match="the parameter 'x' must be"):
        getattr(Params({"x": value}), kind)("x")


def test_a_player_reads_its_own_before_the_common_one() -> None:
    params = Params({"lr": 1e-3, "discriminator.lr": 4e-3})
    assert params.for_player("discriminator").number("lr") == 4e-3
    assert params.for_player("generator").number("lr") == 1e-3
    params.check_all_read()


def test_a_common_parameter_that_every_player_replaces_stays_unread() -> None:
    params = Params({"lr": 1e-3, "discriminator.lr": 4e-3})
    params.for_player("discriminator").number("lr")
    assert params.unread() == ("lr",)


def test_a_parameter_of_an_unknown_player_stays_unread() -> None:
    params = Params({"lr": 1e-3, "critic.lr": 4e-3})
    params.for_player("discriminator").number("lr")
    with pytest.raises(UnreadParameters, match=r"'critic\.lr'"):
        params.check_all_read()


def test_it_is_a_mapping_and_reading_by_key_counts() -> None:
    params = Params({"a": 1, "b": 2})
    assert dict(params) == {"a": 1, "b": 2}
    assert len(params) == 2
    params.check_all_read()
