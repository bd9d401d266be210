"""One trial in training: what it reports, how it dies, and that an interruption changes nothing."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainables.data import digits
from trainables.metrics import elbo, nll
from trainables.models.vae import Model
from trainables.training.alone import Training
from trainables.training.loop import Progress, Trainer
from trainables.training.params import MissingParameter, ParameterValue, UnreadParameters

PLAIN: dict[str, ParameterValue] = {
    "optimizer": "adam",
    "lr": 3e-3,
    "batch_size": 100,
    "latent": 2,
    "width": 16,
    "depth": 1,
}
OPTIMIZERS: dict[str, dict[str, ParameterValue]] = {
    "sgd": {"momentum": 0.9},
    "adam": {"beta1": 0.5, "l2": 1e-3},
    "adamw": {"weight_decay": 1e-2},
    "rmsprop": {"alpha": 0.9, "momentum": 0.5},
    "adamax": {},
}
SCHEDULES: dict[str, dict[str, ParameterValue]] = {
    "constant": {},
    "exponential": {"schedule_floor": 0.1},
    "step": {"step_factor": 0.5, "step_every": 0.25},
    "cosine": {"schedule_floor": 0.0},
    "linear": {"schedule_floor": 0.0},
    "plateau": {"plateau_factor": 0.5, "plateau_patience": 0.0},
}


def build(seed: int = 0, epochs: int = 6, **params: ParameterValue) -> Training:
    metrics = [nll.Metric(k=4), elbo.Metric()]
    return Training(Model, digits.load(), {**PLAIN, **params}, seed=seed, epochs=epochs, metrics=metrics)


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.model.state_dict().items()}  # type: ignore[attr-defined]


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def run(training: Trainer, epochs: int) -> list[Progress]:
    return [training.advance() for _ in range(epochs)]


def test_an_epoch_reports_its_logs_and_the_metrics_asked_for() -> None:
    training = build()
    progress = training.advance()
    assert (progress.step, training.step, progress.cause, progress.ended) == (1, 1, None, False)
    assert set(progress.metrics) == {"loss", "reconstruction", "kl", "grad_norm", "lr", "elbo"}
    assert progress.metrics["lr"] == 3e-3
    assert progress.metrics["loss"] == pytest.approx(progress.metrics["reconstruction"] + progress.metrics["kl"])
    assert "nll" in training.advance(measure=["nll"]).metrics
    assert json.loads(json.dumps(dict(progress.metrics))) == progress.metrics


def test_it_learns() -> None:
    seen = [progress.metrics["elbo"] for progress in run(build(), 6)]
    assert seen[-1] > seen[0] + 20


def test_the_same_seed_repeats_and_another_does_not() -> None:
    first, again, other = build(seed=1), build(seed=1), build(seed=2)
    assert run(first, 2) == run(again, 2)
    assert same(weights(first), weights(again))
    assert run(other, 2) != run(build(seed=1), 2)


def test_what_is_measured_changes_nothing_in_the_training() -> None:
    quiet, loud = build(schedule="plateau", plateau_factor=0.5, plateau_patience=0.0), None
    data = digits.load()
    bare = {**PLAIN, "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 0.0}
    loud = Training(Model, data, bare, seed=0, epochs=6)
    for _ in range(4):
        quiet.advance(measure=["nll"])
        quiet.sample(3)
        loud.advance()
    assert same(weights(quiet), weights(loud))


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    training = build(dropout=0.2)
    training.advance()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_interrupted_training_goes_on_bit_for_bit(optimizer: str, schedule: str, tmp_path: Path) -> None:
    params = {"optimizer": optimizer, **OPTIMIZERS[optimizer], "schedule": schedule, **SCHEDULES[schedule]}
    common: dict[str, ParameterValue] = {"warmup": 0.1, "dropout": 0.2, "l1": 1e-4, "kl_warmup": 0.4, "clip": 50.0}
    params |= {**common, "lr": 1e-2, "batch_size": 96}
    whole, first = build(**params), build(**params)
    assert run(whole, 3) == run(first, 3)
    first.save(tmp_path)
    run(first, 1)
    second = build(**params)
    second.restore(tmp_path)
    assert second.step == 3
    assert run(second, 3) == run(whole, 3)
    assert same(weights(second), weights(whole))


def test_a_plateau_goes_on_where_it_was(tmp_path: Path) -> None:
    # Nothing is learned at such a rate, so the loss only wavers and the plateau acts every other epoch or so.
    params: dict[str, ParameterValue] = {"lr": 1e-30, "schedule": "plateau", "plateau_factor": 0.5}
    whole, first = build(**params, plateau_patience=0.0), build(**params, plateau_patience=0.0)
    run(whole, 5)
    run(first, 5)
    first.save(tmp_path)
    second = build(**params, plateau_patience=0.0)
    second.restore(tmp_path)
    rate = second.advance().metrics["lr"]
    assert rate == whole.advance().metrics["lr"]
    assert rate < 1e-30


def test_a_collapse_is_counted_across_an_interruption(tmp_path: Path) -> None:
    whole = build(epochs=12, beta=1000.0)
    while (progress := whole.advance()).cause is None:
        whole.save(tmp_path)
    second = build(epochs=12, beta=1000.0)
    second.restore(tmp_path)
    assert second.advance() == progress


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_interrupted_training_on_a_gpu_goes_on_bit_for_bit(optimizer: str, tmp_path: Path) -> None:
    params = {**PLAIN, "optimizer": optimizer, **OPTIMIZERS[optimizer], "dropout": 0.2, "l1": 1e-4, "clip": 50.0}
    metrics = [nll.Metric(k=4), elbo.Metric()]
    whole, first, second = (
        Training(Model, digits.load(), params, seed=0, epochs=4, metrics=metrics, device="cuda") for _ in range(3)
    )
    assert run(whole, 2) == run(first, 2)
    first.save(tmp_path)
    second.restore(tmp_path)
    assert run(second, 2) == run(whole, 2)
    assert same(weights(second), weights(whole))


def test_the_second_checkpoint_takes_the_place_of_the_first(tmp_path: Path) -> None:
    training = build()
    for _ in range(2):
        training.advance()
        training.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    fresh = build()
    fresh.restore(tmp_path)
    assert fresh.step == 2


@pytest.mark.parametrize("other", [{"lr": 1e-3}, {"seed": 1}, {"epochs": 7}])
def test_a_checkpoint_of_another_trial_is_refused(other: dict[str, int], tmp_path: Path) -> None:
    build().save(tmp_path)
    with pytest.raises(ValueError, match="must be of the same training"):
        build(**other).restore(tmp_path)


@pytest.mark.parametrize("batch_size", [16, 64, 100, 256])
def test_every_batch_size_sees_the_same_rows_an_epoch(batch_size: int) -> None:
    training = build(batch_size=batch_size)
    epochs = [training.begin_epoch()]
    for _ in range(5):
        training.advance()
        if training.step < 6:
            epochs.append(training.begin_epoch())
    steps = sum(epoch.last - epoch.first for epoch in epochs)
    assert epochs[-1].last == epochs[-1].total == steps
    assert 6000 <= steps * batch_size < 6000 + batch_size


def test_a_loss_that_blows_up_is_death_with_its_cause() -> None:
    training = build(optimizer="sgd", lr=1e4, momentum=0.9)
    while (progress := training.advance()).cause is None:
        pass
    assert progress.constraints["diverged"] == (6 - progress.step + 1) / 6
    assert progress.constraints["collapsed"] == -1.0
    assert all(abs(value) < float("inf") for value in progress.metrics.values())
    assert "elbo" not in progress.metrics


def test_a_collapsed_posterior_is_death_with_its_cause() -> None:
    training = build(epochs=12, beta=1000.0)
    while (progress := training.advance()).cause is None:
        pass
    assert "posterior collapse" in progress.cause
    assert progress.step >= 4
    assert progress.constraints["collapsed"] == (12 - progress.step + 1) / 12


def test_an_unread_and_a_missing_parameter_are_named_before_training() -> None:
    with pytest.raises(UnreadParameters, match="'momentum'"):
        build(momentum=0.9)
    with pytest.raises(MissingParameter, match="'lr'"):
        Training(
            Model,
            digits.load(),
            {"optimizer": "adam", "latent": 2, "width": 4, "depth": 1, "batch_size": 8},
            seed=0,
            epochs=1,
        )


def test_requests_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        build(epochs=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        build(batch_size=0)
    training = build(epochs=1)
    with pytest.raises(ValueError, match=r"built with \(nll, elbo\), not 'fid'"):
        training.advance(measure=["fid"])
    assert training.step == 0
    training.advance()
    with pytest.raises(ValueError, match="over after 1 epochs"):
        training.advance()
    with pytest.raises(ValueError, match="train, validation, test, and 'dev'"):
        training.measure(["elbo"], split="dev")


def test_weights_travel_to_another_training(tmp_path: Path) -> None:
    training, other = build(seed=1), build(seed=2)
    training.advance()
    training.save_weights(tmp_path / "weights.safetensors")
    other.load_weights(tmp_path / "weights.safetensors")
    assert same(weights(training), weights(other))
    assert training.measure(["nll"], split="test") == other.measure(["nll"], split="test")
    with pytest.raises(ValueError, match="weights must fit the model"):
        build(width=8).load_weights(tmp_path / "weights.safetensors")


def test_samples_repeat_under_their_seed() -> None:
    training = build()
    assert training.sample(5).shape == (5, 1, 8, 8)
    assert torch.equal(training.sample(5), training.sample(5))
    assert not torch.equal(training.sample(5), training.sample(5, seed=1))


def test_a_sheet_shows_the_samples(tmp_path: Path) -> None:
    training = build()
    training.advance()
    training.sheet(tmp_path / "deep" / "sheet.png")
    with Image.open(tmp_path / "deep" / "sheet.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (8 * 34, 8 * 34))
        first = training.sample(64)[0, 0]
        assert image.getpixel((1, 1)) == round(int(first[0, 0]) / 16 * 255)
        assert image.getpixel((1 + 4 * 5, 1 + 4 * 3)) == round(int(first[3, 5]) / 16 * 255)
