"""The space of the GAN family for audio: 1-D convolutions and phase shuffle. Ranges are for a second or less of sound.

Donahue, McAuley and Puckette 2019, arXiv 1802.04208, whose networks begin at 64 channels and hear 16384 samples.
"""

from search_spaces import Space
from search_spaces.gan import SPACE as GAN

SPACE = Space.from_mapping(
    {
        "architecture": "wave",
        # The channels of the finest map, twice as many at each quartering.
        "width": {"choice": [8, 16, 32], "default": 8},
        # Places that the discriminator's maps are moved by at the most; the paper tries 0, 2 and 4.
        "phase_shuffle": {"choice": [0, 1, 2, 4], "default": 2},
    },
    name="gan_waves",
    base=GAN,
)
