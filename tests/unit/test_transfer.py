"""A training that begins with the weights of another: what it takes over, what stays, and what begins anew."""

from pathlib import Path

import pytest
import torch
from plain import Config
from together import AtOnce, apart, company_of, go_on, training, weights

from search_spaces import vae as vae_space
from trainables.data import digits
from trainables.metrics import nll
from trainables.models import vae
from trainables.training import company
from trainables.training.alone import Training
from trainables.training.checkpoint import read_tensors, write_tensors
from trainables.training.params import UnreadParameters

EPOCHS = 6
FAMILIES = ["vae", "mlp"]
EMA: dict[str, Config] = {"vae": {}, "mlp": {"ema": 0.9}}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each family a folder like an export's, trained for some epochs."""
    found = {}
    for family in FAMILIES:
        trained = training(family, EMA[family], seed=1, epochs=EPOCHS)
        while trained.step < EPOCHS:
            trained.advance()
        found[family] = tmp_path_factory.mktemp(family)
        trained.save_weights(found[family] / "weights.safetensors")
    return found


def make(family: str, source: Path, *, seed: int = 5, **config: float | str) -> Training:
    return training(family, {**EMA[family], "transfer": str(source), **config}, seed=seed, epochs=EPOCHS)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_begins_with_the_weights_of_the_source_and_an_optimizer_without_memory(
    family: str, sources: dict[str, Path]
) -> None:
    fresh, begun = training(family, EMA[family], seed=5, epochs=EPOCHS), make(family, sources[family])
    source = read_tensors(sources[family] / "weights.safetensors")[0]
    assert all(torch.equal(tensor, source[name]) for name, tensor in begun.module.state_dict().items())
    assert not any(torch.equal(tensor, source[name]) for name, tensor in fresh.module.named_parameters())
    for one, other in zip(begun.players, fresh.players, strict=True):
        assert {name: tensor.shape for name, tensor in one.optimizer.state().items()} == {
            name: tensor.shape for name, tensor in other.optimizer.state().items()
        }
        assert not any(bool(tensor.any()) for tensor in one.optimizer.state().values())


def test_the_average_begins_as_the_loaded_weights_and_keeps_its_decay_from_the_first_step(
    sources: dict[str, Path],
) -> None:
    generator = make("mlp", sources["mlp"]).players[1]
    assert generator.average is not None
    assert torch.equal(generator.average, generator.flat.values)
    assert generator.decay(0) == 0.9
    assert training("mlp", EMA["mlp"], seed=5).players[1].decay(0) < 0.9


@pytest.mark.parametrize("fused", ["alone", "rows", "at once"])
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_layers_stay_bit_for_bit_and_the_others_move(
    family: str, fused: str, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if fused == "at once":
        monkeypatch.setattr(company, "Stack", AtOnce)
    harsh: Config = {"freeze": 1, "weight_decay": 0.1, "l1": 1e-2, "optimizer": "adamw", "lr": 1e-3}
    members = [make(family, sources[family], seed=seed, **harsh) for seed in (5, 6, 7)]
    before = [{name: tensor.clone() for name, tensor in member.module.named_parameters()} for member in members]
    if fused == "alone":
        for member in members:
            while member.step < EPOCHS:
                member.advance()
    else:
        go_on(company_of(*members), members)
    for member, begun in zip(members, before, strict=True):
        still = {name for name, tensor in member.module.named_parameters() if torch.equal(tensor, begun[name])}
        frozen = {name for name, parameter in member.module.named_parameters() if not parameter.requires_grad}
        assert still == frozen
        assert len(frozen) == 2 * len(member.players)


def test_only_equal_freezes_share_a_stack(sources: dict[str, Path]) -> None:
    scratch, free = training("vae", {}, seed=0), make("vae", sources["vae"])
    one, other = (make("vae", sources["vae"], freeze=count) for count in (1, 2))
    assert scratch.structure == free.structure
    assert len({scratch.structure, one.structure, other.structure}) == 3


def test_a_player_may_freeze_by_itself_and_learns_at_the_fine_tuning_rate(sources: dict[str, Path]) -> None:
    tuned = training(
        "mlp", {"transfer": str(sources["mlp"]), "discriminator.freeze": 1, "fine_tune": 0.25}, seed=0, epochs=EPOCHS
    )
    frozen = [name for name, parameter in tuned.module.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(name.startswith("discriminator.") for name in frozen)
    assert tuned.players[0].lr(0.0) == pytest.approx(0.25 * training("mlp", {}, seed=0).players[0].lr(0.0))


def test_company_changes_nothing_in_what_a_transferred_training_becomes(sources: dict[str, Path]) -> None:
    def member() -> Training:
        return make("vae", sources["vae"], freeze=1, fine_tune=0.5)

    lone, member_of, mate = member(), member(), make("vae", sources["vae"], seed=9, freeze=1)
    while lone.step < EPOCHS:
        lone.advance()
    go_on(company_of(mate, member_of), [mate, member_of])
    assert apart(weights(member_of), weights(lone)) < 1e-5


def test_what_does_not_fit_is_drawn_anew_and_named(tmp_path: Path) -> None:
    tensors = dict(training("vae", {}, seed=1).module.state_dict())
    name = next(iter(tensors))
    tensors[name] = torch.zeros(3, 3)
    write_tensors(tmp_path / "weights.safetensors", tensors)
    begun = make("vae", tmp_path)
    assert begun.transfer is not None
    assert begun.transfer.fresh == (name,)
    assert torch.equal(begun.module.state_dict()[name], training("vae", {}, seed=5).module.state_dict()[name])


def test_it_goes_on_from_its_checkpoint_while_the_source_is_the_same(sources: dict[str, Path], tmp_path: Path) -> None:
    whole, part = make("mlp", sources["mlp"], freeze=1), make("mlp", sources["mlp"], freeze=1)
    while whole.step < EPOCHS:
        whole.advance()
    part.advance()
    part.save(tmp_path / "kept")
    again = make("mlp", sources["mlp"], freeze=1)
    again.restore(tmp_path / "kept")
    while again.step < EPOCHS:
        again.advance()
    assert all(
        torch.equal(tensor, whole.module.state_dict()[name]) for name, tensor in again.module.state_dict().items()
    )

    other = tmp_path / "other"
    other.mkdir()
    training("mlp", {}, seed=3).save_weights(other / "weights.safetensors")
    (sources["mlp"] / "weights.safetensors").rename(tmp_path / "before")
    (other / "weights.safetensors").rename(sources["mlp"] / "weights.safetensors")
    try:
        with pytest.raises(ValueError, match="must be of the same training"):
            make("mlp", sources["mlp"], freeze=1).restore(tmp_path / "kept")
    finally:
        (tmp_path / "before").rename(sources["mlp"] / "weights.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"freeze": 99}, "freeze must leave a layer"),
        ({"freeze": -1}, "freeze must leave a layer"),
        ({"fine_tune": 0.0}, "fine_tune must lie above 0"),
        ({"fine_tune": 2.0}, "fine_tune must lie above 0"),
    ],
)
def test_values_out_of_range_are_refused(config: Config, message: str, sources: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=message):
        make("vae", sources["vae"], **config)


def test_a_source_that_is_none_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        make("vae", tmp_path)
    (tmp_path / "weights.safetensors").write_bytes((sources["vae"] / "weights.safetensors").read_bytes()[:100])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        make("vae", tmp_path)
    with pytest.raises(ValueError, match="weights of a like model"):
        make("vae", sources["mlp"])


def test_from_scratch_nothing_of_a_transfer_is_read(sources: dict[str, Path]) -> None:
    assert training("vae", {"transfer": "none"}, seed=0).transfer is None
    with pytest.raises(UnreadParameters, match="freeze"):
        training("vae", {"transfer": "none", "freeze": 1}, seed=0)


def test_weights_of_other_digits_are_a_better_start_than_none(tmp_path: Path) -> None:
    """By nats, where seeds differ by tenths: see benchmarks/transfer.py."""
    default = vae_space.SPACE.default()

    def trained(classes: str, epochs: int, **extra: str) -> Training:
        data = digits.load(classes=classes)
        made = Training(vae.Model, data, {**default, **extra}, seed=0, epochs=epochs, metrics=[nll.Metric(k=8)])
        while made.step < epochs:
            made.advance()
        return made

    trained("0-4", 9).save_weights(tmp_path / "weights.safetensors")
    scratch, begun = trained("5-9", 3), trained("5-9", 3, transfer=str(tmp_path))
    values = [training.measure(["nll"])["nll"].value for training in (scratch, begun)]
    assert values[1] < values[0] - 1.0
