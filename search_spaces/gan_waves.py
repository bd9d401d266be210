"""The space of the GAN family for audio: a generator of waveforms by 1-D convolutions. Ranges are for short sounds.

Donahue, McAuley and Puckette 2019, arXiv 1802.04208 (WaveGAN), whose networks begin at 64 channels and hear 16384
samples.
"""

from search_spaces import Space
from search_spaces.gan import SPACE as GAN

# Defaults that are not those of `gan` are the best of a few that were tried by hand on instruments of 1024 samples.
SPACE = Space.from_mapping(
    {
        # What the discriminator hears: the waveform, as in the paper, or its spectrogram, by which kinds of sounds are
        # told apart after far fewer steps.
        "architecture": {"choice": ["spectrogram", "wave"], "default": "spectrogram"},
        # The channels of the finest map, twice as many at each level.
        "width": {"choice": [8, 16, 32], "default": 16},
        # Places that the discriminator's maps are moved by at the most; the paper tries 0, 2 and 4.
        "phase_shuffle": {"choice": [0, 1, 2, 4], "default": 2, "when": {"architecture": "wave"}},
        "loss": {"default": "hinge"},
        # One of the two is enough; under a spectral norm the kinds came apart.
        "r1": {"default": 0.0},
        "spectral_norm": {"default": True},
        "discriminator.lr": {"default": 3e-4},
        "beta1": {"default": 0.5},
        "batch_size": {"default": 32},
    },
    name="gan_waves",
    base=GAN,
)
