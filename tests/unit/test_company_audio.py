"""GANs of audio: alone equals in company, against networks of plain torch that are trained one at a time.

Float64, 26 steps, 1e-10 relative on weights, averages and logs, as in `test_company_equal.py`.
"""

import dataclasses

import pytest
import torch
from plain import Config, Plain
from plain_audio import PlainFrames, PlainSpectrograms, PlainWaves
from together import AtOnce, apart, company_of, differs, go_on, logs_apart, weights

from trainables.data import instruments
from trainables.data._data import Data, Split, content_hash
from trainables.models import gan, rgan
from trainables.models._family import Family
from trainables.training import company
from trainables.training.alone import Training

pytestmark = pytest.mark.usefixtures("float64")

# 26 steps on 16 rows in batches of 8.
ROWS, EPOCHS, TOLERANCE = 16, 13, 1e-10
# What a technique must change for a test to show anything; it changes far more.
ACTED = 1e-5
ADAM: Config = {"optimizer": "adam", "beta1": 0.5, "batch_size": 8, "latent": 2, "conditional": True}
WAVES: Config = {**ADAM, "lr": 0.003, "architecture": "wave", "width": 2}
# Without the quotients of Adam: torch's own transform is another sum, and differs by 1e-12 where a sound is quiet.
SPECTROGRAMS: Config = {
    **{name: value for name, value in WAVES.items() if name != "beta1"},
    "architecture": "spectrogram",
    "optimizer": "sgd",
    "lr": 0.01,
}
FRAMES: Config = {**ADAM, "lr": 0.01, "width": 5, "frame": 8}
REFERENCES: dict[object, tuple[type[Family], type[Plain]]] = {
    "wave": (gan.Model, PlainWaves),
    "spectrogram": (gan.Model, PlainSpectrograms),
    None: (rgan.Model, PlainFrames),
}
TECHNIQUES: dict[str, Config] = {
    "r1": {"r1": 0.5},
    "spectral_norm": {"spectral_norm": True},
    "dropout": {"dropout": 0.3},
    "phase_shuffle": {"phase_shuffle": 2},
    "farther": {"phase_shuffle": 4},
    "wgan-gp": {"loss": "wgan-gp", "gp": 5.0},
    "ema": {"ema": 0.9},
}
# What each leaves in the counts of the reference.
COUNTED = {
    "r1": "penalized",
    "spectral_norm": "turned",
    "dropout": "dropped",
    "phase_shuffle": "shuffled",
    "farther": "shuffled",
    "wgan-gp": "wgan-gp",
}


def few(*, samples: slice, channels: int) -> Data:
    """Sounds of all kinds; a second channel is the first one upside down and late."""
    whole = instruments.load(rows=ROWS, samples=1024)

    def some(split: Split) -> Split:
        assert split.labels is not None
        x = split.x[:ROWS]
        x = x if channels == 1 else torch.cat([x, -x.roll(3, 2)], 1)
        return Split(x=x[..., samples].clone(), labels=split.labels[:ROWS])

    splits = {name: some(split) for name, split in whole.splits()}
    return dataclasses.replace(whole, sha256=content_hash(splits), **splits)


def check(base: Config, data: Data, names: list[tuple[str, ...]]) -> None:
    """Train members in one stack, and hold each against its reference and against one without its technique."""
    family, reference = REFERENCES[base.get("architecture")]
    own = [{key: value for name in some for key, value in TECHNIQUES[name].items()} for some in names]
    trainings = [
        Training(family, data, {**base, **config}, seed=seed, epochs=EPOCHS) for seed, config in enumerate(own)
    ]
    together = company_of(*trainings, width=len(trainings))
    assert [count for _, count in together.stacks()] == [len(trainings)]
    for seed, (some, reports, trained) in enumerate(zip(names, go_on(together, trainings), trainings, strict=True)):

        def plain(config: Config) -> Plain:
            return reference(family, data, {**base, **config}, seed=seed, epochs=EPOCHS)  # noqa: B023

        alone = plain(own[seed]).until(EPOCHS)
        assert alone.players[0].moves >= 26, some
        assert reports[-1].cause is None, (some, reports[-1].cause)
        assert apart(weights(trained), alone.weights[-1]) < TOLERANCE, some
        assert logs_apart(reports, alone.logs) < TOLERANCE, some
        assert all(alone.acts[COUNTED[name]] > 0 for name in some if name in COUNTED), some
        if some:
            assert differs(alone, plain({}), by=ACTED), some


def test_waves_that_differ_in_a_technique_equal_themselves_alone() -> None:
    check(WAVES, few(samples=slice(100, 164), channels=1), [(), *((name,) for name in TECHNIQUES)])


def test_waves_with_several_techniques_and_channels_equal_themselves_alone() -> None:
    several = [("r1", "dropout", "phase_shuffle"), ("wgan-gp", "spectral_norm", "farther", "ema")]
    check(WAVES, few(samples=slice(512), channels=2), [(), *several])


def test_spectrograms_equal_themselves_alone() -> None:
    several = [("r1", "dropout"), ("spectral_norm", "ema")]
    check(SPECTROGRAMS, few(samples=slice(1024), channels=1), [(), *several])


def test_frames_equal_themselves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "Stack", AtOnce)
    several = [("r1", "dropout"), ("wgan-gp", "ema")]
    check(FRAMES, few(samples=slice(100, 164), channels=2), [(), *several])
