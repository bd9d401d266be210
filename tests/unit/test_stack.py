"""The mechanics of a stack: who shares one, slots and rows as members come and go, and what is asked of families."""

import pytest
import torch
from plain import Config
from together import apart, few_digits, training, weights

from trainables.models import gan, vae
from trainables.models._family import Knobs, Noise
from trainables.training import stack as stack_module
from trainables.training.alone import Training
from trainables.training.draws import Draws
from trainables.training.players import Chunk
from trainables.training.stack import Stack


def stacked(*members: Training, width: int | None = None) -> Stack:
    stack = Stack(members[0], width=width or len(members))
    for member in members:
        stack.add(member)
    return stack


def close(ready: list[Training]) -> None:
    for member in ready:
        member.advance()


@pytest.mark.parametrize(
    ("family", "config", "shares"),
    [
        ("vae", {"lr": 0.5, "optimizer": "sgd", "dropout": 0.3, "beta": 2.0, "batch_size": 5}, True),
        ("vae", {"batch_size": 17}, False),
        ("vae", {"batch_size": 4}, False),
        ("vae", {"width": 9}, False),
        ("vae", {"latent": 3}, False),
        ("vae", {"depth": 2}, False),
        ("mlp", {}, False),
    ],
)
def test_structure_is_what_fixes_shapes_and_nothing_else(family: str, config: Config, shares: bool) -> None:
    one, other = training("vae", {}, seed=0), training(family, config, seed=1, epochs=7)
    assert one.structure is not None
    assert (one.structure == other.structure) == shares


def test_structure_tells_data_dtype_and_precision_apart() -> None:
    def structure(**more: object) -> str | None:
        return training("vae", {}, seed=0, **more).structure  # type: ignore[arg-type]

    found = {structure(), structure(data=few_digits(48)), structure(precision="bf16"), structure(precision="tf32")}
    torch.set_default_dtype(torch.float64)
    try:
        found.add(structure())
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(found) == 5
    assert None not in found


def test_a_family_that_does_not_stack_has_no_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae.Model, "stacks", False)
    trained = training("vae", {}, seed=0)
    assert trained.structure is None
    with pytest.raises(ValueError, match="train it by itself"):
        Stack(trained, width=2)


def test_a_model_with_a_buffer_of_no_player_has_no_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    original = gan.Model.__init__

    def with_buffer(self: gan.Model, *args: object, **more: object) -> None:
        original(self, *args, **more)  # type: ignore[arg-type]
        self.register_buffer("seen", torch.zeros(1), persistent=persistent)

    monkeypatch.setattr(gan.Model, "__init__", with_buffer)
    persistent = True
    assert training("mlp", {}, seed=0).structure is None
    persistent = False
    assert training("mlp", {}, seed=0).structure is not None


def test_a_stack_takes_neither_another_structure_nor_more_than_its_width() -> None:
    stack = stacked(training("vae", {}, seed=0), training("vae", {}, seed=1))
    with pytest.raises(ValueError, match="one structure"):
        stack.add(training("vae", {"width": 9}, seed=2))
    with pytest.raises(ValueError, match=r"width 2 .* full"):
        stack.add(training("vae", {}, seed=2))
    assert len(stack) == 2


def test_a_member_lives_in_its_row_and_takes_its_tensors_along_when_it_leaves() -> None:
    members = [training("vae", {}, seed=seed) for seed in range(4)]
    stack = stacked(*members)
    close(stack.advance())
    first, last = members[0].players[0].flat, members[3].players[0].flat
    shared = first.values.untyped_storage().data_ptr()
    assert last.values.untyped_storage().data_ptr() == shared
    kept = [weights(member) for member in members]
    stack.remove(members[0])
    # The last row moves into the gap, so that the rows in use stay side by side.
    assert stack.members == [members[3], members[1], members[2]]
    assert first.values.untyped_storage().data_ptr() != shared
    assert last.values.data_ptr() == shared
    assert [apart(weights(member), before) for member, before in zip(members, kept, strict=True)] == [0.0] * 4
    before = weights(members[0])
    close(stack.advance())
    assert apart(weights(members[0]), before) == 0.0
    assert apart(weights(members[3]), kept[3]) > 1e-6


def test_members_of_other_batch_sizes_end_their_epochs_at_their_own_steps() -> None:
    # 2, 3 and 7 steps an epoch of 32 rows.
    sizes = [16, 11, 5]
    members = [training("vae", {"batch_size": size}, seed=seed) for seed, size in enumerate(sizes)]
    stack = stacked(*members)
    ends: list[list[int]] = []
    while not all(member.step for member in members):
        assert not any(member.step and not stack.at_rest(member) for member in members if not ends)
        ready = stack.advance()
        ends.append([members.index(member) for member in ready])
        assert all(stack.at_rest(member) for member in ready)
        assert not any(stack.at_rest(member) for member in members if member not in ready)
        close(ready)
    # After steps 2, 3, 4, 6 (two at once: the second epoch of the second ends there too), and 7.
    assert ends == [[0], [1], [0], [0, 1], [2]]
    assert [member.step for member in members] == [3, 2, 1]


def test_the_time_of_an_epoch_is_shared_among_members(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [training("vae", {"batch_size": size}, seed=size) for size in (16, 8)]
    stack = stacked(*members)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(stack_module.time, "perf_counter", lambda: float(next(clock)))
    close(stack.advance())
    assert stack.seconds(members[0]) == 5.0
    close(stack.advance())
    # The second call goes from the one's first epoch to the ends of both.
    assert [stack.seconds(member) for member in members] == [5.0, 10.0]


def test_a_player_that_does_not_move_in_an_epoch_reports_its_rate_alone() -> None:
    slow, quick = training("mlp", {"critic_steps": 5}, seed=0), training("mlp", {}, seed=1)
    same = training("mlp", {"critic_steps": 5}, seed=0)
    stack = stacked(slow, quick)
    reports = []
    for _ in range(2):
        reports.append(dict.fromkeys(stack.advance()))
        reports[-1] = {id(member): member.advance().metrics for member in reports[-1]}
    alone = [same.advance().metrics for _ in range(2)]
    found = [report[id(slow)] for report in reports]
    assert [set(metrics) for metrics in found] == [set(metrics) for metrics in alone]
    assert [name for name in found[1] if name.startswith("generator")] == ["generator.lr"]


def test_a_technique_that_nobody_uses_is_off_and_one_that_someone_uses_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | torch.Tensor] = []
    original = gan.Model._discriminator_loss

    def spied(
        self: gan.Model,
        x: torch.Tensor,
        labels_B: torch.Tensor | None,
        noise: Noise,
        knobs: Knobs,
        weight_B: torch.Tensor,
    ) -> object:
        seen.append(knobs["r1"])
        return original(self, x, labels_B, noise, knobs, weight_B)

    monkeypatch.setattr(gan.Model, "_discriminator_loss", spied)
    without = stacked(training("mlp", {}, seed=0), training("mlp", {"dropout": 0.2}, seed=1))
    close(without.advance())
    assert seen
    assert all(value == 0.0 and isinstance(value, float) for value in seen)
    seen.clear()
    with_one = stacked(training("mlp", {}, seed=0), training("mlp", {"r1": 0.1}, seed=1))
    close(with_one.advance())
    assert seen
    assert all(isinstance(value, torch.Tensor) for value in seen)


def test_noise_that_a_member_does_not_draw_is_zero_whoever_had_its_slot_before() -> None:
    def chunk(rows: int, **noise: torch.Tensor) -> Chunk:
        return Chunk(steps=range(1), rows=torch.arange(rows), noise={"vae": noise})

    draws = Draws(2, rows=4, device=torch.device("cpu"))
    draws.put(0, chunk(4, latent=torch.ones(4, 3), dropout=torch.ones(4, 5)))
    draws.put(1, chunk(2, latent=torch.full((2, 3), 2.0)))
    slots, first = torch.tensor([0, 1]), torch.tensor([1, 0])

    def taken() -> dict[str, torch.Tensor]:
        rows_KB, noise = draws.take(slots, first, 2, drawn=draws.drawn([0, 1]))
        assert rows_KB.tolist() == [[1, 2], [0, 1]]
        return noise["vae"]

    found = taken()
    assert found["latent"].unique(dim=1).tolist() == [[[1.0] * 3], [[2.0] * 3]]
    assert bool((found["dropout"][0] == 1.0).all())
    assert not found["dropout"][1].any()
    # The one who drew uniforms makes room for one who does not, beside another who now does.
    draws.put(0, chunk(4, latent=torch.ones(4, 3)))
    assert "dropout" not in taken()
    draws.put(1, chunk(2, latent=torch.ones(2, 3), dropout=torch.ones(2, 5)))
    assert not taken()["dropout"][0].any()
