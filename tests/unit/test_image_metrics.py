"""What each metric of samples sees of what a generator gets wrong, on digits: claims about all eight at once.

The table is one measured earlier, with another extractor, on another shuffle of the digits into 1000 training and 797
held-out rows: means over 6 draws of 797 samples. Where values differ, the extractor and the shuffle are why.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.data import digits
from trainables.data._data import Data, Split, content_hash
from trainables.metrics._features import features_of
from trainables.metrics._metric import Measurement
from trainables.metrics._samples import Replay, draw

TRAIN_ROWS, SAMPLES = 1000, 797
# Generated rows from which samples are drawn.
POOL = 4 * TRAIN_ROWS
METRICS = ("fd_self", "kid", "mmd", "sliced_wasserstein", "density", "coverage", "authenticity", "nearest_train")
# In the order of METRICS.
TABLE = {
    "copy": (0.0122, 0.0117, 0.0017, 0.0087, 1.00, 0.926, 0.000, 0.894),
    "noise .125": (0.0108, 0.0082, 0.0012, 0.0082, 0.88, 0.929, 0.019, 0.895),
    "noise .25": (0.0197, 0.0318, 0.0058, 0.0117, 0.62, 0.830, 0.385, 0.806),
    "noise .5": (0.0807, 0.235, 0.0331, 0.0251, 0.21, 0.475, 0.902, 0.594),
    "mixture 20": (0.0336, 0.077, 0.018, 0.016, 0.93, 0.895, 0.61, 0.58),
    "mixture 10": (0.0475, 0.119, 0.029, 0.020, 0.76, 0.833, 0.70, 0.55),
    "mixture 5": (0.0793, 0.208, 0.055, 0.026, 0.51, 0.647, 0.83, 0.51),
    "Gaussian": (0.1208, 0.330, 0.0895, 0.0328, 0.24, 0.300, 0.924, 0.527),
    "independent": (0.2040, 0.394, 0.120, 0.0350, 0.29, 0.223, 0.920, 0.515),
    "no 8": (0.0245, 0.0327, 0.0081, 0.0120, 1.00, 0.865, 0.000, 0.889),
    "half 8": (0.0138, 0.0151, 0.0028, 0.0094, 0.99, 0.925, 0.000, 0.900),
    "100 images": (0.0332, 0.0459, 0.0099, 0.0146, 1.00, 0.427, 0.000, 1.00),
}
DISTANCES = METRICS[:4]
FITTED = ("mixture 20", "mixture 10", "mixture 5", "Gaussian", "independent")
SHORT = ("copy", "noise .5", "Gaussian", "independent", "no 8", "100 images")
Found = Mapping[str, Mapping[str, Measurement]]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data() -> Data:
    """All digits shuffled and cut in two, as real numbers, so that a sample may lie between two grey levels."""
    whole = digits.load()
    x = torch.cat([split.x for _, split in whole.splits()]).float()
    labels = torch.cat([split.labels for _, split in whole.splits() if split.labels is not None])
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))
    kept, held = order[:TRAIN_ROWS], order[TRAIN_ROWS:]
    train, held_out = Split(x=x[kept], labels=labels[kept]), Split(x=x[held], labels=labels[held])
    parts = {"train": train, "validation": held_out, "test": held_out}
    return replace(whole, levels=None, sha256=content_hash(parts), **parts)


def mixture(x: Tensor, *, components: int) -> Tensor:
    """Samples of Gaussians fitted to the pixels in [-1, 1], clipped to what a pixel may be."""
    from sklearn.mixture import GaussianMixture

    pixels = (x.flatten(1) / 8 - 1).double()
    fitted = GaussianMixture(components, reg_covar=1e-3, random_state=0).fit(pixels.numpy())
    weights, means, covariances = map(torch.from_numpy, (fitted.weights_, fitted.means_, fitted.covariances_))
    chosen = torch.multinomial(weights, POOL, replacement=True, generator=seeded(0))
    noise = torch.randn(POOL, 64, generator=seeded(1), dtype=torch.float64)
    drawn = means[chosen] + (torch.linalg.cholesky(covariances)[chosen] @ noise[:, :, None])[:, :, 0]
    return (drawn.float().view(-1, 1, 8, 8) * 8 + 8).clamp(0, 16)


def generated(name: str, train: Split) -> Tensor:
    """The rows of a generator by hand."""
    x, labels = train.x, train.labels
    assert labels is not None
    eights = labels == 8
    kind, _, size = name.partition(" ")
    if kind == "noise":
        repeated = x.repeat(POOL // len(x), 1, 1, 1)
        return repeated + 8 * float(size) * torch.randn(repeated.shape, generator=seeded(0))
    if kind == "mixture":
        return mixture(x, components=int(size))
    if kind == "independent":
        return x.flatten(1).gather(0, torch.randint(len(x), (POOL, 64), generator=seeded(0))).view(-1, 1, 8, 8)
    if kind == "Gaussian":
        return mixture(x, components=1)
    half = ~eights | (eights.cumsum(0) % 2 == 0)
    return {"copy": x, "no 8": x[~eights], "half 8": x[half], "100 images": x[:100]}[name]


def measured(names: tuple[str, ...], data: Data) -> Found:
    """The value of every metric on every generator, at 797 samples; features are taken once."""
    features = features_of(data)
    rows_NF = features.extract(data.validation.x)
    found: dict[str, dict[str, Measurement]] = {}
    for name in names:
        samples = draw(Replay(Split(x=generated(name, data.train))), seeded(2), rows=SAMPLES)
        samples_MF = features.extract(samples.x)
        found[name] = {
            metric: import_module(f"trainables.metrics.{metric}").Metric().compare(rows_NF, samples_MF, features.train)
            for metric in METRICS
        }
    return found


def value(found: Found, metric: str, *names: str) -> list[float]:
    return [found[name][metric].value for name in names]


@pytest.fixture(scope="module")
def short(data: Data) -> Found:
    return measured(SHORT, data)


@pytest.fixture(scope="module")
def whole(data: Data) -> Found:
    return measured(tuple(TABLE), data)


@pytest.mark.parametrize("metric", DISTANCES)
def test_distances_rank_fidelity(short: Found, metric: str) -> None:
    copy, no_eight, gaussian, independent = value(short, metric, "copy", "no 8", "Gaussian", "independent")
    assert copy < no_eight < gaussian < independent
    assert value(short, metric, "noise .5")[0] > no_eight


def test_a_lost_class_is_beyond_the_noise_of_all_distances_but_the_noisiest(short: Found) -> None:
    for metric in DISTANCES:
        if metric != "kid":
            lost = short["no 8"][metric]
            assert lost.value > short["copy"][metric].value + 2 * lost.standard_error


def test_a_copy_wins_fidelity_and_is_caught_by_novelty(short: Found) -> None:
    found = {metric: value(short, metric, *SHORT) for metric in METRICS}
    assert all(min(found[metric]) == found[metric][0] for metric in DISTANCES)
    assert found["coverage"][0] == max(found["coverage"])
    assert found["authenticity"][0] == 0.0
    # (1 + 797 / 1000) / 2, as all but the copied 797 of 1000 rows are a toss-up.
    assert found["nearest_train"][0] == pytest.approx(0.8985, abs=0.015)


def test_noise_on_copies_makes_them_novel_and_costs_fidelity(short: Found) -> None:
    noisy = short["noise .5"]
    assert noisy["authenticity"].value > 0.8
    assert noisy["nearest_train"].value < 0.65
    assert noisy["density"].value < 0.3


def test_coverage_alone_sees_that_there_are_only_a_hundred_images(short: Found) -> None:
    few, gaussian = short["100 images"], short["Gaussian"]
    assert few["density"].value > 0.9
    assert few["fd_self"].value < gaussian["fd_self"].value / 2
    assert few["coverage"].value < short["copy"]["coverage"].value / 2


def test_samples_far_from_all_rows_are_novel_and_neither_dense_nor_covering(short: Found) -> None:
    for name in ("Gaussian", "independent"):
        assert short[name]["authenticity"].value > 0.85
        assert short[name]["nearest_train"].value == pytest.approx(0.5, abs=0.08)
        assert max(short[name]["density"].value, short[name]["coverage"].value) < 0.4


@pytest.mark.slow
def test_fitted_generators_rank_by_how_much_they_know(whole: Found) -> None:
    order = ("mixture 20", "mixture 10", "mixture 5", "Gaussian", "independent")
    for metric in DISTANCES:
        assert value(whole, metric, *order) == sorted(value(whole, metric, *order))
    for metric in ("density", "coverage"):
        assert value(whole, metric, *order[:4]) == sorted(value(whole, metric, *order[:4]), reverse=True)
    assert value(whole, "authenticity", *order[:4]) == sorted(value(whole, "authenticity", *order[:4]))


@pytest.mark.slow
def test_noise_on_copies_is_seen_by_authenticity_from_two_grey_levels_on(whole: Found) -> None:
    levels = ("copy", "noise .125", "noise .25", "noise .5")
    authenticity = value(whole, "authenticity", *levels)
    assert authenticity == sorted(authenticity)
    assert authenticity[1] < 0.05 < 0.3 < authenticity[2]
    # One grey level is within the error of a copy.
    for metric in DISTANCES:
        near, far = whole["noise .125"][metric], whole["noise .5"][metric]
        assert abs(near.value - whole["copy"][metric].value) < 2 * near.standard_error
        assert far.value > whole["copy"][metric].value + 4 * far.standard_error


@pytest.mark.slow
def test_a_halved_class_is_seen_by_none_and_a_hundred_images_look_like_a_good_mixture(whole: Found) -> None:
    for metric in METRICS:
        half, copy = whole["half 8"][metric], whole["copy"][metric]
        assert abs(half.value - copy.value) <= 2 * (half.standard_error + copy.standard_error)
    few, good, fair = whole["100 images"], whole["mixture 20"], whole["mixture 10"]
    assert few["fd_self"].value < fair["fd_self"].value
    assert few["density"].value > good["density"].value
    assert few["coverage"].value < whole["mixture 5"]["coverage"].value


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_values_are_those_of_the_table(whole: Found, metric: str) -> None:
    """Within a quarter for a distance and 15 % for a share, and two standard errors."""
    share = 0.25 if metric in DISTANCES else 0.15
    for name, row in TABLE.items():
        if name == "100 images" and metric in (*DISTANCES, "nearest_train"):
            # Which hundred they are decides a distance; and in the table all hundred were compared with.
            continue
        expected, found = row[METRICS.index(metric)], whole[name][metric]
        assert abs(found.value - expected) <= share * expected + 2 * found.standard_error, name
