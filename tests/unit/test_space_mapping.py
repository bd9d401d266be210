"""Spaces as a study file writes them: on their own, and as overrides of a base."""

import pytest
import yaml

from search_spaces import Choice, Entry, Float, Int, Space, SpaceError

BASE = Space(
    "base",
    {
        "lr": Float(1e-4, 1e-2, default=1e-3, log=True),
        "depth": Int(1, 3, default=2),
        "width": Int(64, 512, default=256, step=64),
        "batch_size": Choice((16, 32, 64), default=64),
        "nesterov": Choice((True, False), default=False),
        "optimizer": Choice(("adam", "adamw", "sgd", "rmsprop"), default="adam"),
        "momentum": Float(0.0, 0.99, default=0.9, when={"optimizer": ("sgd", "rmsprop")}),
        "alpha": Choice((0.9, 0.99), default=0.99, when={"optimizer": "rmsprop"}),
        "damped": Choice((True, False), default=True, when={"alpha": 0.9}),
        "dropout": 0.1,
    },
)


def written(text: str, *, base: Space | None = None) -> Space:
    return Space.from_mapping(yaml.safe_load(text), name="s", base=base)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("{low: 1e-4, high: 1e-2, default: 1e-3, log: true}", Float(1e-4, 1e-2, default=1e-3, log=True)),
        ("{low: 0.0, high: 1.0, default: 0.5, step: 0.25}", Float(0.0, 1.0, default=0.5, step=0.25)),
        ("{low: 1, high: 9, default: 5, step: 4}", Int(1, 9, default=5, step=4)),
        ("{type: float, low: 1, high: 9, default: 5}", Float(1.0, 9.0, default=5.0)),
        ("{low: 1, high: 9, default: 5.0}", Float(1.0, 9.0, default=5.0)),
        ("{type: int, low: 1, high: 9, default: 5, log: true}", Int(1, 9, default=5, log=True)),
        ("[adam, sgd]", Choice(("adam", "sgd"), default="adam")),
        ("[1e-3, .5e1, 2]", Choice((1e-3, 5.0, 2), default=1e-3)),
        ("{choice: [a, b], default: b}", Choice(("a", "b"), default="b")),
        ("0.1", 0.1),
        ("1e-3", 1e-3),
        ("adam", "adam"),
        ("true", True),
        ("7", 7),
        ("'7'", 7),
    ],
)
def test_an_entry_on_its_own(text: str, entry: Entry) -> None:
    parameter = written(f"p: {text}").parameters["p"]
    assert repr(parameter) == repr(entry)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Float(0.0, 4.0, default=1.0, step=1.0), "{type: float, low: 0.0, high: 4.0, default: 1.0, step: 1.0}"),
        (Float(1.0, 4.0, default=1.0, log=True), "{type: float, low: 1.0, high: 4.0, default: 1.0, log: true}"),
        (Int(0, 4, default=1), "{type: int, low: 0, high: 4, default: 1}"),
        (Choice(("a", "b"), default="a"), "[a, b]"),
        (Choice(("a", "b"), default="b"), "{choice: [a, b], default: b}"),
        (Choice(("a",), default="a", when={"o": 1}), "{choice: [a], default: a, when: {o: 1}}"),
        (Choice(("a",), default="a", when={"o": (1, 2)}), "{choice: [a], default: a, when: {o: [1, 2]}}"),
        (0.5, "0.5"),
    ],
)
def test_an_entry_is_written_as_short_as_it_is_clear(entry: Entry, expected: str) -> None:
    assert Space("s", {"o": Choice((1, 2), default=1), "p": entry}).to_mapping()["p"] == yaml.safe_load(expected)


def test_conditions_are_written_as_a_value_or_a_list() -> None:
    space = written(
        "{o: [a, b, c], x: {low: 0.0, high: 1.0, default: 0.5, when: {o: a}}, y: {choice: [1], when: {o: [a, b]}}}"
    )
    assert space.parameters["x"] == Float(0.0, 1.0, default=0.5, when={"o": "a"})
    assert space.parameters["y"] == Choice((1,), default=1, when={"o": ("a", "b")})


@pytest.mark.parametrize(
    ("text", "name", "entry"),
    [
        # What an override leaves out stays as it is in the base.
        ("lr: {high: 0.1}", "lr", Float(1e-4, 0.1, default=1e-3, log=True)),
        ("lr: {log: false}", "lr", Float(1e-4, 1e-2, default=1e-3)),
        ("width: {step: null}", "width", Int(64, 512, default=256)),
        ("width: {low: 128}", "width", Int(128, 512, default=256, step=64)),
        ("batch_size: [64, 128]", "batch_size", Choice((64, 128), default=64)),
        ("batch_size: [128, 32]", "batch_size", Choice((128, 32), default=128)),
        ("batch_size: {default: 16}", "batch_size", Choice((16, 32, 64), default=16)),
        ("batch_size: {low: 16, high: 64}", "batch_size", Int(16, 64, default=64)),
        ("lr: [1e-3, 1e-4]", "lr", Choice((1e-3, 1e-4), default=1e-3)),
        ("lr: [1e-4, 1]", "lr", Choice((1e-4, 1.0), default=1e-4)),
        ("dropout: {low: 0.0, high: 0.5}", "dropout", Float(0.0, 0.5, default=0.1)),
        ("lr: 1", "lr", 1.0),
        ("nesterov: true", "nesterov", True),
        ("optimizer: adamax", "optimizer", "adamax"),
        ("extra: 3", "extra", 3),
        # The condition stays too, even where the value is fixed; `when` replaces or lifts it.
        ("momentum: 0.5", "momentum", Choice((0.5,), default=0.5, when={"optimizer": ("sgd", "rmsprop")})),
        ("momentum: [0.5, 0.9]", "momentum", Choice((0.5, 0.9), default=0.9, when={"optimizer": ("sgd", "rmsprop")})),
        ("momentum: {when: {optimizer: sgd}}", "momentum", Float(0.0, 0.99, default=0.9, when={"optimizer": "sgd"})),
        ("momentum: {when: null}", "momentum", Float(0.0, 0.99, default=0.9)),
        # A parent that loses values takes them out of the conditions on it.
        ("optimizer: [adam, sgd]", "momentum", Float(0.0, 0.99, default=0.9, when={"optimizer": "sgd"})),
    ],
)
def test_an_override(text: str, name: str, entry: Entry) -> None:
    space = written(text, base=BASE)
    assert repr(space.parameters[name]) == repr(entry)
    unchanged = set(BASE.names()) - {name, "optimizer", "momentum", "alpha", "damped"}
    assert {key: space.parameters[key] for key in unchanged} == {key: BASE.parameters[key] for key in unchanged}


def test_what_can_never_be_there_is_dropped_with_all_that_hangs_on_it() -> None:
    assert set(BASE.names()) - set(written("optimizer: adam", base=BASE).names()) == {"momentum", "alpha", "damped"}
    assert set(BASE.names()) - set(written("optimizer: [sgd]", base=BASE).names()) == {"alpha", "damped"}


def test_a_whole_number_beside_others_stays_whole() -> None:
    wide = Space("wide", {"seed": Choice((2**53 + 1, 0.0), default=0.0)})
    given = written(f"seed: {{choice: [{2**53 + 1}, 0.0], default: {2**53 + 1}}}", base=wide).parameters["seed"]
    assert repr(given) == repr(Choice((2**53 + 1, 0.0), default=2**53 + 1))


def test_null_removes() -> None:
    assert set(BASE.names()) - set(written("{dropout: null, damped: null}", base=BASE).names()) == {"dropout", "damped"}


def test_the_name_of_the_base_is_no_parameter() -> None:
    assert written("{base: base, dropout: 0.2}", base=BASE).names() == BASE.names()


def test_a_space_written_out_needs_no_base() -> None:
    space = written("{optimizer: [rmsprop, adam], momentum: 0.5, lr: {high: 0.1}}", base=BASE)
    text = yaml.safe_dump(space.to_mapping())
    assert written(text) == Space("s", space.parameters)


@pytest.mark.parametrize(
    ("text", "message", "name"),
    [
        ("lr: {low: 1.0}", "parameter 'lr': low must be below high, got low=1.0, high=0.01; swap them", "lr"),
        ("lr: {low: 5e-3}", "parameter 'lr': default must be a number from 0.005 to 0.01, got 0.001", "lr"),
        ("lr: {hihg: 1.0}", "'lr': a key must be one of type, low.*got 'hihg'.*did you mean 'high'", "lr"),
        ("lr: fast", "'lr': a value must be a number as in the base, got 'fast'; write a number", "lr"),
        ("lr: true", "'lr': a value must be a number as in the base, got True", "lr"),
        ("lr: {default: [1]}", r"'lr': default must be a finite number, got \[1\]", "lr"),
        ("lr: {log: null, low: null}", "'lr': low must be a finite number, got None", "lr"),
        ("depth: {type: float}", "'depth': a range must have low, high and default, got no low; add low", "depth"),
        ("depth: 2.5", "'depth': a value must be a whole number as in the base, got 2.5", "depth"),
        ("batch_size: [64.5]", "'batch_size': a value must be a whole number as in the base, got 64.5", "batch_size"),
        ("batch_size: {chioce: [1]}", "a key must be one of type, low.*got 'chioce'", "batch_size"),
        ("batch_size: {choice: [1], high: 3}", "a key must be one of choice, default, when, got 'high'", "batch_size"),
        ("batch_size: {choice: 16}", r"choice must be a list of values, got 16; write \[a, b, \.\.\.\]", "batch_size"),
        ("batch_size: []", "options must be a list with at least one value", "batch_size"),
        ("nesterov: 1", "'nesterov': a value must be true or false as in the base, got 1", "nesterov"),
        ("optimizer: 3", "'optimizer': a value must be text as in the base, got 3", "optimizer"),
        ("optimizer: [adam, adam]", "options must differ from one another, got 'adam' twice", "optimizer"),
        ("optimizer: null", "'optimizer' must stay while 'momentum' depends on it, got null; fix it", "optimizer"),
        ("dropuot: null", r"'dropuot': null removes a parameter of the base.*did you mean 'dropout'", "dropuot"),
        ("new: {low: 0.0, high: 1.0}", "'new': a range must have low, high and default, got no default; add", "new"),
        ("new: {type: bool, low: 0, high: 1, default: 0}", "type must be int or float, got 'bool'", "new"),
        ("new: 2020-01-01", r"a value must be a number, a text, true or false, got datetime\.date", "new"),
        (
            "{optimizer: adam, momentum: 0.5}",
            "'momentum' is there only when 'optimizer' is 'sgd' or 'rmsprop'",
            "momentum",
        ),
        (
            "momentum: {when: {optimizer: lion}}",
            "when must name values that 'optimizer' can take, got 'lion'",
            "momentum",
        ),
        ("momentum: {when: sgd}", "'momentum': when must map a parameter to a value or several, got 'sgd'", "momentum"),
    ],
)
def test_an_override_is_refused(text: str, message: str, name: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        written(text, base=BASE)
    assert caught.value.parameter == name


def test_a_base_that_was_not_handed_in_is_refused() -> None:
    with pytest.raises(SpaceError, match="base must be handed in as a space, got only its name 'vae'"):
        written("{base: vae, lr: 0.1}")
