"""The space of the GAN family: its networks, its losses, and how they are trained. Ranges are for small data."""

from search_spaces import Choice, Entry, Space, for_player
from search_spaces.blocks.batch_size import batch_size
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from search_spaces.blocks.regularization import regularization
from search_spaces.blocks.schedule import schedule

# They fix the shapes of the tensors, and trials of equal shape can be trained together: hence few values of each.
_NETWORKS: dict[str, Entry] = {
    # A study of square images may set it to conv.
    "architecture": "mlp",
    # 64: Lucic et al. 2018 (arXiv 1711.10337). Small data do with fewer.
    "latent": Choice((16, 64), default=16),
    # With conv these are the channels of the finest map, twice as many at each halving.
    "width": Choice((128, 256), default=128),
    # The side of the images decides it for conv.
    "depth": Choice((1, 2), default=2, when={"architecture": "mlp"}),
    # A study of labeled rows may set it to true: Mirza and Osindero 2014 (arXiv 1411.1784).
    "conditional": False,
}

_LOSS: dict[str, Entry] = {
    # Non-saturating: Goodfellow et al. 2014 (arXiv 1406.2661, section 3); no variant beat it consistently in Lucic et
    # al. 2018. Hinge: Lim and Ye 2017 (arXiv 1705.02894), the choice of SAGAN (arXiv 1805.08318). WGAN-GP: Gulrajani et
    # al. 2017 (arXiv 1704.00028). Least squares: Mao et al. 2017 (arXiv 1611.04076).
    "loss": Choice(("non-saturating", "hinge", "wgan-gp", "least-squares"), default="non-saturating"),
    # Mescheder et al. 2018 (arXiv 1801.04406), who take 10 for large images; for small ones less is enough, and how
    # much is worth a search. 0 is an option of its own and costs nothing.
    "r1": Choice(
        (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0),
        default=1.0,
        when={"loss": ("non-saturating", "hinge", "least-squares")},
    ),
    # The penalty of WGAN-GP, which has it in place of R1. 10: Gulrajani et al. 2017. The range is the wide one of Lucic
    # et al. 2018.
    "gp": Choice((0.1, 1.0, 10.0, 100.0), default=10.0, when={"loss": "wgan-gp"}),
    # Miyato et al. 2018 (arXiv 1802.05957). False: R1 and a spectral norm bound the same slopes, and one of them is
    # enough to begin with.
    "spectral_norm": Choice((False, True), default=False),
    # Steps of the discriminator for one of the generator. 1: Goodfellow et al. 2014. 2: BigGAN (arXiv 1809.11096). 5:
    # WGAN-GP (arXiv 1704.00028); 1 and 5 are the wide range of Lucic et al. 2018.
    "critic_steps": Choice((1, 2, 5), default=1),
    # The decay of the generator's moving average; 0 is none. Yazici et al. 2019 (arXiv 1806.04498). BigGAN takes .9999
    # over 1e5 steps and more, which short trainings do not have.
    "ema": Choice((0.0, 0.9, 0.99, 0.995, 0.999), default=0.995),
}

# Two learning rates: Heusel et al. 2017 (arXiv 1706.08500). The range is the wide one of Lucic et al. 2018 without its
# lowest decade. First moments from 0, which is the choice of SAGAN and BigGAN; Radford et al. 2016 (arXiv 1511.06434)
# take .5.
SPACE = Space.of(
    "gan",
    _NETWORKS,
    _LOSS,
    for_player("discriminator", learning_rate()),
    for_player("generator", learning_rate()),
    schedule(),
    batch_size(),
    optimizer(beta1=0.0),
    regularization(),
)
