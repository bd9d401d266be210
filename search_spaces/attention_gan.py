"""The space of the self-attention GAN of images: its networks, its losses, and how they are trained.

Ranges are for small data. Where nothing else is said, they are those of the GAN and have its sources.
"""

from search_spaces import Choice, Entry, Space, for_player
from search_spaces.blocks.batch_size import batch_size
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from search_spaces.blocks.regularization import regularization
from search_spaces.blocks.schedule import schedule

# They fix the shapes of the tensors, and trials of equal shape can be trained together: hence few values of each.
_NETWORKS: dict[str, Entry] = {
    "latent": Choice((16, 64), default=16),
    # Channels of the finest map, twice as many at each halving.
    "width": Choice((16, 32), default=32),
    # True is the choice of SAGAN (arXiv 1805.08318), whose batch normalization then gives the maps their size back.
    # Without one it keeps samples from going apart: on digits, at the other defaults, the distance fd_self stayed above
    # 1, a hundred times that of False. A study may set it.
    "generator.spectral_norm": False,
    # A study of labeled rows may set it to true: Mirza and Osindero 2014 (arXiv 1411.1784).
    "conditional": False,
}

_LOSS: dict[str, Entry] = {
    # Hinge: the choice of SAGAN.
    "loss": Choice(("hinge", "non-saturating", "wgan-gp", "least-squares"), default="hinge"),
    # Mescheder et al. 2018 (arXiv 1801.04406). Less than in the GAN, since a spectral norm bounds the slopes already.
    "r1": Choice(
        (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0),
        default=0.1,
        when={"loss": ("hinge", "non-saturating", "least-squares")},
    ),
    # Gulrajani et al. 2017 (arXiv 1704.00028).
    "gp": Choice((0.1, 1.0, 10.0, 100.0), default=10.0, when={"loss": "wgan-gp"}),
    # Of the discriminator, as in SAGAN: Miyato et al. 2018 (arXiv 1802.05957).
    "spectral_norm": Choice((True, False), default=True),
    # 1: SAGAN.
    "critic_steps": Choice((1, 2, 5), default=1),
    # Yazici et al. 2019 (arXiv 1806.04498).
    "ema": Choice((0.0, 0.9, 0.99, 0.995, 0.999), default=0.995),
}

# Two learning rates: Heusel et al. 2017 (arXiv 1706.08500); SAGAN takes 4e-4 for the discriminator and 1e-4 for the
# generator, over a million steps. First moments from 0: SAGAN.
SPACE = Space.of(
    "attention_gan",
    _NETWORKS,
    _LOSS,
    for_player("discriminator", learning_rate()),
    for_player("generator", learning_rate()),
    schedule(),
    batch_size(),
    optimizer(beta1=0.0),
    regularization(),
)
