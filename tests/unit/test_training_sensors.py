"""When a training is dead, and the graded constraint that tells it."""

import math

import pytest

from trainables.training.loop import CONSTRAINTS, constraints, share_left
from trainables.training.sensors import COLLAPSE_EPOCHS, Death, Sensors


def see(sensors: Sensors, loss: float, *, collapse: str | None = None, progress: float = 0.5) -> Death | None:
    return sensors.see({"loss": loss}, finite_weights=True, collapse=collapse, progress=progress)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_death(loss: float) -> None:
    death = see(Sensors(), loss)
    assert death == Death(constraint="diverged", cause=f"loss is {loss}")


def test_a_weight_that_is_not_finite_is_death() -> None:
    death = Sensors().see({"loss": 1.0}, finite_weights=False, collapse=None, progress=0.5)
    assert death == Death(constraint="diverged", cause="a weight is not finite")


def test_an_explosion_is_death_and_a_spike_is_not() -> None:
    sensors = Sensors()
    assert see(sensors, 150.0) is None
    assert see(sensors, 15_000.0) is None
    death = see(sensors, 151_000.0)
    assert death is not None
    assert death.constraint == "diverged"
    assert "exploded: 1.51e+05 against 150 at first" in death.cause


def test_the_loss_of_any_player_can_explode() -> None:
    sensors = Sensors()
    assert sensors.see({"generator.loss": 1.0}, finite_weights=True, collapse=None, progress=0.1) is None
    assert sensors.see({"generator.loss": 2e3}, finite_weights=True, collapse=None, progress=0.1) is not None


def test_collapse_counts_late_and_several_epochs_running() -> None:
    sensors = Sensors()
    for _ in range(10):
        assert see(sensors, 1.0, collapse="dead", progress=0.3) is None
    for _ in range(COLLAPSE_EPOCHS - 1):
        assert see(sensors, 1.0, collapse="dead", progress=0.4) is None
    assert see(sensors, 1.0, collapse=None, progress=0.4) is None, "one healthy epoch starts the count again"
    for _ in range(COLLAPSE_EPOCHS - 1):
        assert see(sensors, 1.0, collapse="dead", progress=0.5) is None
    assert see(sensors, 1.0, collapse="dead", progress=0.5) == Death(constraint="collapsed", cause="dead")


def test_the_sensors_go_on_from_their_state() -> None:
    sensors, other = Sensors(), Sensors()
    see(sensors, 5.0)
    see(sensors, 5.0, collapse="dead")
    other.load_state(sensors.state())
    assert other == sensors == Sensors(first_loss=5.0, collapsed_epochs=1)


def test_every_trial_sets_the_same_constraints_in_the_same_order() -> None:
    assert list(constraints()) == list(constraints("memory", left=1.0)) == list(CONSTRAINTS)
    assert constraints() == {"diverged": -1.0, "collapsed": -1.0, "memory": -1.0}
    assert constraints("collapsed", left=0.25) == {"diverged": -1.0, "collapsed": 0.25, "memory": -1.0}
    with pytest.raises(ValueError, match="one of diverged, collapsed, memory"):
        constraints("tired", left=0.5)


def test_death_is_graded_by_the_budget_left_and_never_feasible() -> None:
    shares = [share_left(step=step, epochs=10) for step in range(1, 11)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert min(shares) == 0.1
