"""A player that begins late has another one's weights until then, alone and in company; controls are measured too."""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from together import AtOnce, company_of, few_digits, go_on
from torch import Tensor, nn

from trainables.data._data import Data, Split
from trainables.metrics._metric import Measurement
from trainables.metrics._samples import draw
from trainables.models._family import Generative, Losses, Noise
from trainables.training import company
from trainables.training.alone import Training
from trainables.training.params import Params

pytestmark = pytest.mark.usefixtures("float64")

EPOCHS = 6


class Model(nn.Module):
    """Two numbers: `first` is drawn to 1 from the beginning, `second` to -1 from its own."""

    players = ("first", "second")
    structural = ()
    averaged = ("second",)
    stacks = True
    begins_as: ClassVar[Mapping[str, str]] = {"second": "first"}

    def __init__(self, data: Data, *, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = data.shape
        self.first, self.second = nn.Linear(1, 1), nn.Linear(1, 1)
        for parameter in self.parameters():
            with torch.no_grad():
                parameter.normal_(generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> "Model":
        return cls(data, generator=generator)

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        return {"share": params.number("share"), "pace": params.number("pace", 1.0)}

    @classmethod
    def begins(cls, knobs: Mapping[str, float]) -> dict[str, float]:
        return {"second": knobs["share"]}

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        return dict(knobs)

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"first": 1, "second": int(knobs["pace"])}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        return {"shift": torch.randn(rows, generator=generator)}

    def forward(
        self, player: str, x: Tensor, noise: Noise, knobs: Mapping[str, float | Tensor], weight_B: Tensor
    ) -> Losses:
        out_B = getattr(self, player)(noise["shift"][:, None])[:, 0]
        loss = (out_B - (1.0 if player == "first" else -1.0)).square() @ weight_B
        return loss, {"loss": loss.detach()}

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        return logs["loss"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        return None

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"shift": torch.randn(rows, 1, generator=generator)}

    def sample(self, noise: Noise) -> Tensor:
        return self._images(self.second, noise)

    def controls(self) -> Mapping[str, Generative]:
        return {"by_first": Control(self)}

    def _images(self, player: nn.Module, noise: Noise) -> Tensor:
        return player(noise["shift"])[:, :, None, None].expand(-1, *self.shape)


class Control:
    """Samples of the first player."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return self.model.draw_samples(generator, rows=rows)

    def sample(self, noise: Noise) -> Tensor:
        return self.model._images(self.model.first, noise)


class Metric:
    """The mean of samples."""

    name = "mean"
    direction = "minimize"
    each_epoch = True

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        values = draw(model, generator, rows=50).x.double()
        return Measurement(value=float(values.mean()), standard_error=math.nan, sample_size=50)


class Undefined(Metric):
    name = "undefined"

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        return Measurement(value=math.nan, standard_error=math.nan, sample_size=0)


class Failing(Metric):
    name = "failing"

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        raise RuntimeError("no")


@pytest.fixture(params=["rows", "at once"], autouse=True)
def updates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "at once":
        monkeypatch.setattr(company, "Stack", AtOnce)


def make(seed: int, share: float, **config: float | str) -> Training:
    base = {"optimizer": "adam", "lr": 0.05, "batch_size": 16, "share": share, "ema": 0.9}
    return Training(Model, few_digits(), {**base, **config}, seed=seed, epochs=EPOCHS, metrics=(Metric(),))


@functools.cache
def steps(epoch: int, batch_size: int = 16) -> int:
    return -(-epoch * len(few_digits().train) // batch_size)


def weights(training: Training) -> dict[str, Tensor]:
    found = {name: value.clone() for name, value in training.module.state_dict().items()}
    average = training.players[1].average
    assert average is not None
    return {**found, "average": average.clone()}


def test_until_it_begins_a_player_has_the_weights_of_its_leader_and_then_its_own() -> None:
    trained = make(0, 0.5)
    assert trained.players[1].begin == math.ceil(0.5 * steps(EPOCHS))
    for epoch in range(1, EPOCHS + 1):
        progress = trained.advance()
        found = weights(trained)
        follows = torch.equal(found["first.weight"], found["second.weight"])
        assert follows == (steps(epoch) <= trained.players[1].begin)
        assert ("second.loss" in progress.metrics) == (steps(epoch) > trained.players[1].begin)
        if follows:
            assert torch.equal(found["average"][: found["first.weight"].numel()], found["first.weight"].flatten())
    # It was drawn the other way, from where the first stood.
    assert found["second.bias"].item() < found["first.bias"].item()


def test_the_first_player_is_moved_by_nothing_of_this() -> None:
    ends = []
    for share in (0.0, 0.5, 1.0):
        trained = make(0, share)
        while trained.step < EPOCHS:
            trained.advance()
        ends.append(weights(trained)["first.weight"])
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


VARIED: list[tuple[float, dict[str, float | str]]] = [
    (0.5, {}),
    (0.0, {"batch_size": 5}),
    (1.0, {}),
    (0.3, {"pace": 3, "batch_size": 7}),
    (0.37, {"optimizer": "sgd"}),
]


def test_members_that_begin_at_different_steps_are_what_each_is_alone(tmp_path: Path) -> None:
    members = [make(seed, share, **config) for seed, (share, config) in enumerate(VARIED)]
    reports = go_on(company_of(*members), members)
    for seed, (member, (share, config)) in enumerate(zip(members, VARIED, strict=True)):
        expected = make(seed, share, **config)
        for report in reports[seed]:
            by_itself = expected.advance()
            assert report.metrics == pytest.approx(by_itself.metrics, rel=1e-9, abs=1e-12)
        for name, value in weights(expected).items():
            torch.testing.assert_close(weights(member)[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stopped", [1, 3, 5])
def test_a_checkpoint_in_either_stage_goes_on(tmp_path: Path, stopped: int) -> None:
    whole, first, again = make(0, 0.5), make(0, 0.5), make(0, 0.5)
    for _ in range(stopped):
        first.advance()
    first.save(tmp_path)
    again.restore(tmp_path)
    for trained in (whole, again):
        while trained.step < EPOCHS:
            trained.advance()
    for name, value in weights(whole).items():
        assert torch.equal(weights(again)[name], value)


def test_a_schedule_runs_from_where_its_player_begins() -> None:
    trained = make(0, 0.5, schedule="linear", schedule_floor=0.1, warmup=0.2)
    first, second = trained.players
    start = second.begin / steps(EPOCHS)
    for share in (0.0, 0.1, 0.2, 0.6, 1.0):
        assert second.lr(start + share * (1.0 - start)) == pytest.approx(first.lr(share))
    assert second.lr(0.5 * start) == second.lr(start)
    assert make(0, 1.0, schedule="linear", schedule_floor=0.1).players[1].lr(1.0) == pytest.approx(0.05)


def test_what_was_transferred_is_kept_by_a_player_that_begins_at_once(tmp_path: Path) -> None:
    source = make(0, 0.0)
    source.advance()
    source.save_weights(tmp_path / "weights.safetensors")
    found = {share: make(1, share, transfer=str(tmp_path), lr=1e-12) for share in (0.0, 0.5)}
    for trained in found.values():
        trained.advance()
    with source._averaged():
        given = {name: value.clone() for name, value in source.module.state_dict().items()}
    torch.testing.assert_close(weights(found[0.0])["second.weight"], given["second.weight"])
    # Whoever has a stage before its own begins with what that one came to.
    torch.testing.assert_close(weights(found[0.5])["second.weight"], given["first.weight"])


def test_a_player_follows_one_of_equal_layers_only() -> None:
    class Frozen(Model):
        def __init__(self, data: Data, *, generator: torch.Generator) -> None:
            super().__init__(data, generator=generator)
            self.second.bias.requires_grad_(False)

    with pytest.raises(ValueError, match=r"give `second.freeze` and `first.freeze` one value"):
        Training(
            Frozen, few_digits(), {"optimizer": "sgd", "lr": 0.1, "batch_size": 16, "share": 0.5}, seed=0, epochs=1
        )


def test_controls_are_measured_beside_the_samples() -> None:
    trained = make(0, 0.0)
    while trained.step < EPOCHS:
        last = trained.advance()
    beside = trained.yardsticks(["mean"])
    assert beside["mean.by_first"] > last.metrics["mean"]
    assert beside["mean.by_first"] == pytest.approx(trained.module.first.bias.item(), abs=0.5)


@pytest.mark.parametrize("metric", [Undefined(), Failing()])
def test_what_a_control_has_no_finite_value_of_is_left_out(metric: Metric) -> None:
    base = {"optimizer": "adam", "lr": 0.05, "batch_size": 16, "share": 0.0}
    trained = Training(Model, few_digits(), base, seed=0, epochs=1, metrics=(metric, Metric()))
    assert trained.yardsticks([metric.name, "mean"]).keys() == {"mean.floor", "mean.copy_of_train", "mean.by_first"}
