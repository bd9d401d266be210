"""`parameter_count` and `sampling_rate`: metrics of the model itself."""

import math

import pytest
import torch
from torch import Tensor, nn

from trainables.data import ring
from trainables.metrics import parameter_count, sampling_rate
from trainables.metrics._metric import Metric
from trainables.metrics._samples import Replay
from trainables.models._family import Noise
from trainables.models.gan import Model
from trainables.training.params import Params


class Line(nn.Module):
    """A weight and a bias, of which one is frozen, and a buffer; each batch moves the clock by so many seconds."""

    def __init__(self, clock: list[float], seconds: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))
        self.bias = nn.Parameter(torch.ones(5), requires_grad=False)
        self.register_buffer("constant", torch.ones(7))
        self.clock, self.seconds, self.batches = clock, list(seconds), list[int]()

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"latent": torch.randn(rows, 3, generator=generator)}

    def sample(self, noise: Noise) -> Tensor:
        self.batches.append(len(noise["latent"]))
        self.clock[0] += self.seconds.pop(0)
        return noise["latent"] @ self.weight


def test_every_parameter_counts_and_no_buffer() -> None:
    data, generator = ring.load(rows=100), torch.Generator()
    found = parameter_count.Metric().measure(Line([], []), data.validation, generator)
    assert (found.value, found.standard_error) == (11.0, 0.0)
    params = Params({"architecture": "mlp", "latent": 3, "width": 8, "depth": 2, "conditional": False})
    gan = Model.build(params, data=data, generator=torch.Generator().manual_seed(0))
    by_hand = (2 * 8 + 8 + 8 * 8 + 8 + 8 + 1) + (3 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2)
    assert parameter_count.Metric().measure(gan, data.validation, generator).value == by_hand


def test_the_rate_is_samples_over_seconds_without_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    model = Line(clock, [50.0, *[0.5] * 4, *[0.25] * 4])
    monkeypatch.setattr("trainables.metrics.sampling_rate.time.perf_counter", lambda: clock[0])
    found = sampling_rate.Metric().measure(model, ring.load(rows=100).validation, torch.Generator())
    assert model.batches == [250] * 9
    assert found.sample_size == 2000
    # 500 and 1000 samples a second, four times each.
    assert found.value == pytest.approx(750.0)
    assert found.standard_error == pytest.approx(250 * math.sqrt(8 / 7) / math.sqrt(8))


@pytest.mark.parametrize("metric", [parameter_count.Metric, sampling_rate.Metric], ids=lambda metric: metric.name)
def test_rows_in_the_place_of_samples_are_refused(metric: type[Metric]) -> None:
    data = ring.load(rows=100)
    with pytest.raises(ValueError, match=f"the metric '{metric.name}' needs a torch.nn.Module with parameters"):
        metric().measure(Replay(data.train), data.validation, torch.Generator())
