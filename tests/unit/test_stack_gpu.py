"""A stack on CUDA: captured steps, all rows at once, nothing waited for inside an epoch. Not run on a GPU yet."""

import pytest
import torch

from trainables.data import digits
from trainables.metrics import fd_self
from trainables.models import gan, vae
from trainables.training.alone import Training
from trainables.training.params import ParameterValue
from trainables.training.stack import Stack

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

VAE: dict[str, ParameterValue] = {
    "latent": 4,
    "width": 32,
    "depth": 1,
    "batch_size": 64,
    "optimizer": "adam",
    "lr": 1e-3,
}
GAN: dict[str, ParameterValue] = {
    "architecture": "mlp",
    "latent": 8,
    "width": 32,
    "depth": 1,
    "batch_size": 64,
    "optimizer": "adam",
    "beta1": 0.0,
    "lr": 1e-3,
}
# Members that differ in what they use, so that branches, masks and noise of some are there for the others too.
MEMBERS: dict[str, list[dict[str, ParameterValue]]] = {
    "vae": [
        {**VAE},
        {**VAE, "optimizer": "rmsprop", "dropout": 0.2, "batch_size": 33},
        {**VAE, "optimizer": "sgd", "momentum": 0.9, "l1": 1e-4, "kl_warmup": 0.5, "clip": 50.0},
    ],
    "gan": [
        {**GAN, "r1": 1.0, "ema": 0.99},
        {**GAN, "loss": "hinge", "critic_steps": 3, "generator.lr": 3e-4},
        {**GAN, "optimizer": "adamw", "weight_decay": 1e-2, "dropout": 0.2, "batch_size": 50},
    ],
}
FAMILIES = {"vae": vae.Model, "gan": gan.Model}
EPOCHS = 4

families = pytest.mark.parametrize("name", MEMBERS)


def build(name: str, member: int, *, device: str = "cuda", precision: str = "float32") -> Training:
    params = MEMBERS[name][member]
    return Training(
        FAMILIES[name], digits.load(), params, seed=member, epochs=EPOCHS, device=device, precision=precision
    )


def train(stack: Stack, trainings: list[Training]) -> list[dict[str, float]]:
    """To the end of the budget, each leaving when it is there; the metrics of each one's last epoch."""
    last: dict[int, dict[str, float]] = {}
    for training in trainings:
        stack.add(training)
    while len(stack):
        for training in stack.advance():
            progress = training.advance()
            assert progress.cause is None
            if training.step == EPOCHS:
                stack.remove(training)
                if training in trainings:
                    last[trainings.index(training)] = dict(progress.metrics)
    return [last[place] for place in range(len(trainings))]


@families
def test_captured_steps_do_what_each_member_does_alone(name: str) -> None:
    count = len(MEMBERS[name])
    # One row too many: it stays free, and masked, throughout.
    found = train(Stack(build(name, 0), width=count + 1), [build(name, member) for member in range(count)])
    for member in range(count):
        alone = build(name, member)
        for _ in range(EPOCHS):
            progress = alone.advance()
        assert found[member] == pytest.approx(dict(progress.metrics), rel=1e-3)


@families
def test_a_slot_is_refilled_while_the_others_are_in_mid_epoch(name: str) -> None:
    stack = Stack(build(name, 0), width=2)
    first, second, third = (build(name, member) for member in range(3))
    stack.add(first)
    stack.add(second)
    for training in stack.advance():
        training.advance()
    gone = first if stack.at_rest(first) else second
    stays = second if gone is first else first
    stack.remove(gone)
    found = train(stack, [third])[0]
    alone = build(name, 2)
    for _ in range(EPOCHS):
        progress = alone.advance()
    assert found == pytest.approx(dict(progress.metrics), rel=1e-3)
    assert stays.step == EPOCHS


@families
def test_nothing_waits_for_the_device_inside_an_epoch(name: str) -> None:
    stack = Stack(build(name, 0), width=3)
    for member in range(3):
        stack.add(build(name, member))
    for _ in range(2):  # warms up, captures
        for training in stack.advance():
            training.advance()
    stack._begin()
    torch.cuda.set_sync_debug_mode("error")
    try:
        stack._run(min(seat.left() for seat in stack._seats.values()))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@families
def test_lower_precision_trains_much_the_same(name: str, precision: str) -> None:
    members = [build(name, member, precision=precision) for member in range(2)]
    for metrics in train(Stack(build(name, 0, precision=precision), width=2), members):
        assert all(abs(value) < float("inf") for value in metrics.values())
    assert all(player.flat.values.dtype == torch.float32 for training in members for player in training.players)


def test_a_metric_measures_where_the_model_is() -> None:
    training = Training(gan.Model, digits.load(), GAN, seed=0, epochs=1, metrics=[fd_self.Metric()], device="cuda")
    assert training.advance(measure=["fd_self"]).metrics["fd_self"] > 0.0
