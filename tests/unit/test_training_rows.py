"""The rows of a stacked player against the members' own optimizers, one by one, and against torch's plain loops."""

from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.training.optim import PlayerOptimizer
from trainables.training.params import ParameterValue, Params
from trainables.training.rows import RowsOptimizer, average_rows, row_norms

Member = dict[str, ParameterValue]
STEPS, SIZE, PADDING = 50, 32, 5
FAMILIES: dict[str, Member] = {
    "sgd": {"optimizer": "sgd", "lr": 0.02},
    "momentum": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9},
    "adam": {"optimizer": "adam", "lr": 0.03, "beta1": 0.8, "beta2": 0.99},
    "adamw": {"optimizer": "adamw", "lr": 0.05, "beta1": 0.5, "beta2": 0.95},
    "rmsprop": {"optimizer": "rmsprop", "lr": 0.01, "alpha": 0.9},
    "rmsprop-momentum": {"optimizer": "rmsprop", "lr": 0.005, "alpha": 0.97, "momentum": 0.5},
    "adamax": {"optimizer": "adamax", "lr": 0.04, "beta1": 0.7, "beta2": 0.98},
}
TECHNIQUES: dict[str, Member] = {
    "clip": {"clip": 1.5},
    "l1": {"l1": 0.4},
    "l2": {"l2": 0.3},
    "weight_decay": {"weight_decay": 0.6},
}


def make(member: Member, parameter: Tensor) -> PlayerOptimizer:
    params = Params(member)
    optimizer = PlayerOptimizer([parameter], params)
    params.check_all_read()
    return optimizer


def starts(width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Other weights in every row, and zeros at the end as between the parameters of a vector."""
    start_KP = torch.randn(width, SIZE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    start_KP[:, -PADDING:] = 0.0
    return start_KP.to(dtype)


def slope(weights: Tensor, step: int) -> Tensor:
    """The gradient of a bowl with curvatures of many sizes, whose middle wanders; 0 on the padding. Acts on rows."""
    curvature = torch.logspace(-1.0, 1.0, SIZE, dtype=weights.dtype)
    curvature[-PADDING:] = 0.0
    middle = torch.linspace(-1.0, 1.0, SIZE, dtype=weights.dtype) * (1.0 + 0.5 * (step % 3))
    return curvature * (weights - middle)


def rate(member: Member, step: int) -> float:
    lr = member["lr"]
    assert isinstance(lr, float)
    return lr * (1.0 - step / 60.0)


def masks(width: int, steps: int = STEPS) -> Tensor:
    """Rows at three paces, [S, K]: each step, each second and each third."""
    paces = torch.arange(width) % 3 + 1
    return torch.stack([step % paces == 0 for step in range(steps)])


def alone(members: Sequence[Member], moves_SK: Tensor, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """What the members' own optimizers make of it: [K, P]."""
    found = []
    for row, member in enumerate(members):
        parameter = starts(len(members), dtype)[row].clone()
        optimizer = make(member, parameter)
        for step in range(len(moves_SK)):
            if moves_SK[step, row]:
                parameter.grad = slope(parameter, step)
                optimizer.step(lr=rate(member, step))
        found.append(parameter)
    return torch.stack(found)


def together(
    members: Sequence[Member], moves_SK: Tensor, *, dtype: torch.dtype = torch.float64, captured: bool = False
) -> Tensor:
    """What the rows of one stack become: [K, P].

    `captured` computes every branch, as a step does that was captured when members were there that needed them.
    """
    parameters_KP = starts(len(members), dtype)
    rows = RowsOptimizer(len(members), SIZE, dtype=dtype, device="cpu")
    branches: frozenset[str] = frozenset()
    for member in every_member() if captured else []:
        rows.load_row(0, make(member, parameters_KP[0].clone()))
        branches |= rows.branches
    for row, member in enumerate(members):
        rows.load_row(row, make(member, parameters_KP[row].clone()))
    rows.branches |= branches
    tables = rows.coefficients(rates(members, len(moves_SK)), moves_SK)
    for step, table_CK in enumerate(tables):
        rows.step(parameters_KP, slope(parameters_KP, step), table_CK, everyone=bool(moves_SK[step].all()))
    return parameters_KP


def every_member() -> list[Member]:
    """All optimizers, each with all techniques."""
    return [{**family, "clip": 2.0, "l1": 0.1, "l2": 0.1, "weight_decay": 0.1} for family in FAMILIES.values()]


def rates(members: Sequence[Member], steps: int, first: int = 0) -> Tensor:
    return torch.tensor(
        [[rate(member, step) for member in members] for step in range(first, first + steps)], dtype=torch.float64
    )


def apart(left_KP: Tensor, right_KP: Tensor) -> float:
    """The largest difference of a row, relative to that row's largest entry, or to 1 where that is less."""
    return float(((left_KP - right_KP).abs().amax(-1) / right_KP.abs().amax(-1).clamp_min(1.0)).max())


def all_differ(rows_KP: Tensor) -> bool:
    return all(apart(a[None], b[None]) > 1e-3 for a, b in combinations(rows_KP, 2))


def everyone(width: int, steps: int = STEPS) -> Tensor:
    return torch.ones(steps, width, dtype=torch.bool)


@pytest.mark.parametrize(("one", "other"), list(combinations_with_replacement(FAMILIES, 2)))
def test_every_pair_of_optimizers_shares_a_stack(one: str, other: str) -> None:
    members: list[Member] = [FAMILIES[one], {**FAMILIES[other], "lr": 0.015}, {**FAMILIES[one], "lr": 0.008}]
    for moves_SK in (masks(3), everyone(3)):
        found = together(members, moves_SK)
        assert apart(found, alone(members, moves_SK)) < 1e-12
        assert all_differ(found)


@pytest.mark.parametrize(("one", "other"), list(combinations(TECHNIQUES, 2)))
def test_every_pair_of_techniques_under_every_optimizer_in_one_stack(one: str, other: str) -> None:
    extras: list[Member] = [{}, TECHNIQUES[one], TECHNIQUES[other], {**TECHNIQUES[one], **TECHNIQUES[other]}]
    members = [{**family, **extra} for family in FAMILIES.values() for extra in extras]
    for moves_SK in (masks(len(members)), everyone(len(members))):
        found = together(members, moves_SK)
        assert apart(found, alone(members, moves_SK)) < 1e-12
    # Each technique acts, by itself and beside the other.
    assert all(all_differ(four) for four in found.unflatten(0, (len(FAMILIES), 4)))


def test_rows_equal_torchs_plain_loops() -> None:
    classes = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adamax": "Adamax"}
    members: list[Member] = [
        {**family, ("weight_decay" if family["optimizer"] == "adamw" else "l2"): 0.1} for family in FAMILIES.values()
    ]
    found = together(members, everyone(len(members)))
    for row, member in enumerate(members):
        given = {name: member[name] for name in ("momentum", "alpha") if name in member}
        betas = {"betas": (member["beta1"], member["beta2"])} if "beta1" in member else {}
        weight = starts(len(members))[row].clone().requires_grad_()
        optimizer = getattr(torch.optim, classes[str(member["optimizer"])])(
            [weight], lr=member["lr"], weight_decay=0.1, foreach=False, **given, **betas
        )
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = rate(member, step)
            weight.grad = slope(weight.detach(), step)
            optimizer.step()
        assert apart(found[row : row + 1], weight.detach()[None]) < 1e-12, member


strengths = st.sampled_from([0.0, 0.0, 0.05, 0.7])
some_members = st.builds(
    lambda family, lr, **techniques: {**FAMILIES[family], "lr": lr, **techniques},
    st.sampled_from(list(FAMILIES)),
    st.floats(1e-4, 0.05),
    clip=st.sampled_from([0.0, 0.0, 0.5, 5.0]),
    l1=strengths,
    l2=strengths,
    weight_decay=strengths,
)


@given(st.lists(some_members, min_size=1, max_size=5), st.data())
@settings(max_examples=80, deadline=None)
def test_any_members_that_move_at_any_steps_equal_themselves_alone(members: list[Member], data: st.DataObject) -> None:
    steps = 12
    moves = data.draw(st.lists(st.booleans(), min_size=steps * len(members), max_size=steps * len(members)))
    moves_SK = torch.tensor(moves).view(steps, len(members))
    expected = alone(members, moves_SK)
    assert apart(together(members, moves_SK), expected) < 1e-12
    assert apart(together(members, moves_SK, captured=True), expected) < 1e-12


def test_in_float32_rows_stay_close_to_the_members_alone() -> None:
    members: list[Member] = [{**family, "l2": 0.1, "clip": 2.0} for family in FAMILIES.values()]
    moves_SK = masks(len(members))
    found = together(members, moves_SK, dtype=torch.float32)
    # 50 steps, each with some roundings of 6e-8; 3e-7 was seen.
    assert apart(found, alone(members, moves_SK, dtype=torch.float32)) < 3e-6


def every_family() -> tuple[list[Member], Tensor, RowsOptimizer]:
    """All optimizers with all techniques, after 5 steps of all rows."""
    members = every_member()
    parameters_KP = starts(len(members))
    rows = RowsOptimizer(len(members), SIZE, dtype=torch.float64, device="cpu")
    for row, member in enumerate(members):
        rows.load_row(row, make(member, parameters_KP[row].clone()))
    for step, table_CK in enumerate(rows.coefficients(rates(members, 5), everyone(len(members), 5))):
        rows.step(parameters_KP, slope(parameters_KP, step), table_CK)
    return members, parameters_KP, rows


def snapshot(members: Sequence[Member], rows: RowsOptimizer) -> list[dict[str, Tensor]]:
    """The states of all rows, as their own optimizers have them."""
    optimizers = [make(member, torch.zeros(SIZE, dtype=torch.float64)) for member in members]
    for row, optimizer in enumerate(optimizers):
        rows.store_row(row, optimizer)
    return [optimizer.state() for optimizer in optimizers]


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("sleeper", range(len(FAMILIES)))
def test_a_sleeping_row_stays_bit_for_bit_whatever_its_gradient(sleeper: int) -> None:
    members, parameters_KP, rows = every_family()
    before_KP, states, norms_K = parameters_KP.clone(), snapshot(members, rows), rows.norm_K.clone()
    moves_SK = everyone(len(members), 3)
    moves_SK[:, sleeper] = False
    lr_SK = rates(members, 3)
    lr_SK[:, sleeper] = torch.nan
    for step, table_CK in enumerate(rows.coefficients(lr_SK, moves_SK)):
        grad_KP = slope(parameters_KP, step)
        grad_KP[sleeper] = torch.nan
        rows.step(parameters_KP, grad_KP, table_CK)
    after = snapshot(members, rows)
    for row in range(len(members)):
        assert torch.equal(parameters_KP[row], before_KP[row]) is (row == sleeper)
        assert torch.equal(rows.norm_K[row], norms_K[row]) is (row == sleeper)
        assert same(after[row], states[row]) is (row == sleeper or not states[row])
    assert bool(parameters_KP.isfinite().all())


def kicked(kick: float, *, everyone_moves: bool) -> tuple[list[Member], Tensor, RowsOptimizer]:
    """As `every_family`, then 3 steps in which one entry of row 2's gradient is off by `kick`."""
    members, parameters_KP, rows = every_family()
    for step, table_CK in enumerate(rows.coefficients(rates(members, 3), everyone(len(members), 3))):
        grad_KP = slope(parameters_KP, step)
        grad_KP[2, 4] += kick
        rows.step(parameters_KP, grad_KP, table_CK, everyone=everyone_moves)
    return members, parameters_KP, rows


@pytest.mark.parametrize("everyone_moves", [False, True])
@pytest.mark.parametrize("kick", [torch.nan, torch.inf])
def test_a_row_that_dies_touches_no_other(kick: float, everyone_moves: bool) -> None:
    members, dead_KP, dead = kicked(kick, everyone_moves=everyone_moves)
    _, well_KP, well = kicked(0.0, everyone_moves=everyone_moves)
    states = zip(snapshot(members, dead), snapshot(members, well), strict=True)
    for row, (left, right) in enumerate(states):
        assert torch.equal(dead_KP[row], well_KP[row]) is (row != 2)
        assert same(left, right) is (row != 2)
    assert not bool(dead_KP[2].isfinite().all())


@pytest.mark.parametrize("name", FAMILIES)
def test_who_takes_the_row_of_a_dead_member_is_as_alone(name: str) -> None:
    members, parameters_KP, rows = kicked(torch.nan, everyone_moves=True)
    parameters_KP[2] = starts(1)[0]
    members[2] = FAMILIES[name]
    rows.load_row(2, make(members[2], parameters_KP[2].clone()))
    for step, table_CK in enumerate(rows.coefficients(rates(members, 5), everyone(len(members), 5))):
        rows.step(parameters_KP, slope(parameters_KP, step), table_CK)
    assert apart(parameters_KP[2:3], alone(members[2:3], everyone(1, 5))) < 1e-12


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gradient_whose_square_overflows_does_what_it_does_alone(name: str) -> None:
    members = [FAMILIES[name], *FAMILIES.values(), {**FAMILIES[name], "clip": 1.0}]
    parameters_KP = starts(len(members), torch.float32)
    own = [parameter.clone() for parameter in parameters_KP]
    optimizers = [make(member, parameter) for member, parameter in zip(members, own, strict=True)]
    rows = RowsOptimizer(len(members), SIZE, dtype=torch.float32, device="cpu")
    for row, optimizer in enumerate(optimizers):
        rows.load_row(row, optimizer)
    for step, table_CK in enumerate(rows.coefficients(rates(members, 4), everyone(len(members), 4))):
        grad_KP = slope(parameters_KP, step)
        grad_KP[0, 3] = grad_KP[-1, 3] = 3e19 if step == 1 else 1.0
        for row, (member, optimizer) in enumerate(zip(members, optimizers, strict=True)):
            own[row].grad = grad_KP[row].clone()
            optimizer.step(lr=rate(member, step))
        rows.step(parameters_KP, grad_KP, table_CK)
    assert torch.allclose(parameters_KP, torch.stack(own), rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_member_goes_on_in_another_row_at_another_width_and_alone(name: str) -> None:
    member: Member = {**FAMILIES[name], "clip": 2.0, "l1": 0.1}
    parameter, optimizer = starts(1)[0].clone(), None
    other: Member = FAMILIES["adam" if name != "adam" else "adamax"]
    places = [(3, 2, 0, 20), (2, 0, 20, 40), (1, 0, 40, 50)]
    for width, row, first, last in places:
        parameters_KP = starts(width)
        rows = RowsOptimizer(width, SIZE, dtype=torch.float64, device="cpu")
        members = [member if place == row else other for place in range(width)]
        parameters_KP[row] = parameter
        optimizer = _moved(optimizer, member, parameter)
        for place in range(width):
            rows.load_row(place, optimizer if place == row else make(other, parameters_KP[place].clone()))
        steps = last - first
        tables = rows.coefficients(rates(members, steps, first), everyone(width, steps))
        for step, table_CK in enumerate(tables, start=first):
            rows.step(parameters_KP, slope(parameters_KP, step), table_CK)
        parameter.copy_(parameters_KP[row])
        rows.store_row(row, optimizer)
    assert optimizer is not None
    for step in range(50, 60):
        parameter.grad = slope(parameter, step)
        optimizer.step(lr=rate(member, step))
    assert apart(parameter[None], alone([member], everyone(1, 60))) < 1e-12


def _moved(optimizer: PlayerOptimizer | None, member: Member, parameter: Tensor) -> PlayerOptimizer:
    """Another optimizer that goes on where this one is, as after a checkpoint."""
    fresh = make(member, parameter)
    if optimizer is not None:
        fresh.load_state(optimizer.state())
    return fresh


@pytest.mark.parametrize("name", FAMILIES)
def test_the_state_of_a_row_is_the_state_of_its_own_optimizer(name: str) -> None:
    member = FAMILIES[name]
    rows = RowsOptimizer(2, SIZE, dtype=torch.float64, device="cpu")
    parameters_KP, own = starts(2), starts(2)[1].clone()
    optimizer, stored = make(member, own), make(member, own.clone())
    rows.load_row(1, optimizer)
    rows.store_row(1, stored)
    assert stored.state() == optimizer.state() == {}
    moves_SK = everyone(2, 3)
    moves_SK[:, 0] = False
    for step, table_CK in enumerate(rows.coefficients(rates([member] * 2, 3), moves_SK)):
        own.grad = slope(own, step)
        optimizer.step(lr=rate(member, step))
        rows.step(parameters_KP, slope(parameters_KP, step), table_CK)
    rows.store_row(1, stored)
    found, expected = stored.state(), optimizer.state()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.allclose(found[key], value, rtol=1e-12, atol=1e-15)
    rows.load_row(0, stored)
    rows.store_row(0, optimizer)
    assert same(optimizer.state(), found)


def test_state_is_made_only_for_members_that_need_it() -> None:
    rows = RowsOptimizer(2, SIZE, dtype=torch.float64, device="cpu")

    def made() -> tuple[bool, bool]:
        return rows._first_KP is not None, rows._second_KP is not None

    rows.load_row(0, make(FAMILIES["sgd"], torch.zeros(SIZE)))
    assert made() == (False, False)
    rows.load_row(0, make(FAMILIES["rmsprop"], torch.zeros(SIZE)))
    assert made() == (False, True)
    rows.load_row(1, make(FAMILIES["momentum"], torch.zeros(SIZE)))
    assert made() == (True, True)


def test_a_step_reads_no_value_and_its_kernels_do_not_depend_on_the_width() -> None:
    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    counts = []
    for copies in (1, 5):
        members = every_member() * copies
        # Tensors of this device have no values: whoever looks at one gets an error.
        rows = RowsOptimizer(len(members), SIZE, dtype=torch.float32, device="meta")
        for row, member in enumerate(members):
            rows.load_row(row, make(member, torch.zeros(SIZE)))
        table_CK = rows.coefficients(rates(members, 1), everyone(len(members), 1))[0]
        parameters_KP = torch.zeros(len(members), SIZE, device="meta")
        names: list[str] = []
        with Calls():
            rows.step(parameters_KP, torch.zeros_like(parameters_KP), table_CK)
        counts.append([name for name in names if "view" not in name and "select" not in name])
    assert counts[0] == counts[1]


def test_averages_of_rows_are_the_averages_of_each() -> None:
    rows = RowsOptimizer(4, SIZE, dtype=torch.float64, device="cpu")
    for row in range(4):
        rows.load_row(row, make(FAMILIES["sgd"], torch.zeros(SIZE)))
    moves_SK = everyone(4, 3)
    moves_SK[1, 1] = False
    weight_SK = torch.tensor([[0.9, 0.3, 0.01, 0.0]] * 3, dtype=torch.float64)
    average_KP, own = starts(4), [average.clone() for average in starts(4)]
    for step, table_CK in enumerate(rows.coefficients(torch.ones_like(weight_SK), moves_SK, weight_SK)):
        parameters_KP = starts(4) * (step + 2.0)
        parameters_KP[3] = torch.nan
        if step == 1:
            parameters_KP[1] = torch.nan
        average_rows(average_KP, parameters_KP, table_CK)
        for row in range(4):
            if moves_SK[step, row] and weight_SK[step, row] > 0.0:
                own[row].lerp_(parameters_KP[row], float(weight_SK[step, row]))
    assert torch.equal(average_KP[3], starts(4)[3])
    assert apart(average_KP, torch.stack(own)) < 1e-15
    assert all(not torch.equal(average_KP[row], starts(4)[row]) for row in range(3))


def test_the_norm_is_that_of_the_last_move_before_clipping() -> None:
    rows = RowsOptimizer(2, SIZE, dtype=torch.float64, device="cpu")
    optimizer = make({**FAMILIES["sgd"], "clip": 0.1}, starts(2)[0].clone())
    for row in range(2):
        rows.load_row(row, optimizer)
    moves_SK = torch.tensor([[True, True], [True, False]])
    parameters_KP, grads = starts(2), []
    for step, table_CK in enumerate(rows.coefficients(torch.full((2, 2), 0.1).double(), moves_SK)):
        grads.append(slope(parameters_KP, step))
        rows.step(parameters_KP, grads[-1], table_CK)
    assert rows.norm_K.tolist() == [float(row_norms(grads[1])[0]), float(row_norms(grads[0])[1])]
    assert float(rows.norm_K[1]) == pytest.approx(float(grads[0][1].norm()), rel=1e-14)


def test_a_row_that_moves_needs_a_member() -> None:
    rows = RowsOptimizer(2, SIZE, dtype=torch.float64, device="cpu")
    rows.load_row(0, make(FAMILIES["sgd"], torch.zeros(SIZE)))
    with pytest.raises(ValueError, match="row 1 has none: load the row first"):
        rows.coefficients(torch.ones(3, 2), everyone(2, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_step_does_what_the_step_does() -> None:
    """On CUDA, replayed from a graph, with other rows asleep at each replay. Not run on a GPU."""
    members = every_member()
    moves_SK, lr_SK = masks(len(members), 20), rates(members, 20)

    def prepared() -> tuple[RowsOptimizer, Tensor]:
        rows = RowsOptimizer(len(members), SIZE, dtype=torch.float32, device="cuda")
        parameters_KP = starts(len(members), torch.float32).cuda()
        for row, member in enumerate(members):
            rows.load_row(row, make(member, parameters_KP[row].clone()))
        return rows, parameters_KP

    curvature = torch.logspace(-1.0, 1.0, SIZE, device="cuda")
    rows, eager_KP = prepared()
    for table_CK in rows.coefficients(lr_SK, moves_SK):
        rows.step(eager_KP, curvature * (eager_KP - 1.0), table_CK)

    rows, replayed_KP = prepared()
    asleep_CK = rows.coefficients(lr_SK[:1], torch.zeros_like(moves_SK[:1]))[0]
    table_CK, grad_KP = asleep_CK.clone(), torch.zeros_like(replayed_KP)
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        rows.step(replayed_KP, grad_KP, table_CK)
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        rows.step(replayed_KP, grad_KP, table_CK)
    for next_CK in rows.coefficients(lr_SK, moves_SK):
        table_CK.copy_(next_CK)
        grad_KP.copy_(curvature * (replayed_KP - 1.0))
        graph.replay()
    assert torch.equal(replayed_KP, eager_KP)
    assert apart(replayed_KP.cpu(), starts(len(members), torch.float32)) > 1e-3
