"""The space of the recurrent GAN: its networks, its losses, and how they are trained. Ranges are for short series."""

from search_spaces import Choice, Entry, Float, Space, for_player
from search_spaces.blocks.batch_size import batch_size
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from search_spaces.blocks.regularization import regularization
from search_spaces.blocks.schedule import schedule

# They fix the shapes of the tensors, and trials of equal shape can be trained together: hence few values of each.
_NETWORKS: dict[str, Entry] = {
    # Numbers of noise at each step. 5: Esteban, Hyland and Raetsch 2017 (arXiv 1706.02633), as their code has it.
    "latent": Choice((5, 16), default=5),
    # The hidden units of either GRU. Their LSTMs have 100; 32 cost less and learn the sines.
    "width": Choice((32, 64, 128), default=32),
    # A study of labeled series may set it to true.
    "conditional": False,
}

_LOSS: dict[str, Entry] = {
    # Cross-entropy at each step, as in the paper, here in the form that does not saturate. Hinge: Lim and Ye 2017
    # (arXiv 1705.02894). WGAN-GP: Gulrajani et al. 2017 (arXiv 1704.00028). Least squares: Mao et al. 2017 (arXiv
    # 1611.04076).
    "loss": Choice(("non-saturating", "hinge", "wgan-gp", "least-squares"), default="non-saturating"),
    # Mescheder et al. 2018 (arXiv 1801.04406). 0, as in the paper; it costs a second derivative through all steps, and
    # on digit_rows .01 and .1 slowed the beginning down.
    "r1": Choice(
        (0.0, 1e-2, 0.1, 1.0, 10.0),
        default=0.0,
        when={"loss": ("non-saturating", "hinge", "least-squares")},
    ),
    # 10: Gulrajani et al. 2017, in all their experiments.
    "gp": Choice((1.0, 10.0), default=10.0, when={"loss": "wgan-gp"}),
    # Steps of the discriminator for one of the generator. The paper's code takes 5 for the sines, and for digits fewer
    # than of the generator, which is not offered. 2, with the rates below: the best of a few that were tried by hand on
    # sines and digit_rows.
    "critic_steps": Choice((1, 2, 3, 5), default=2),
    # The decay of the generator's moving average; 0 is none, as in the paper. Yazici et al. 2019 (arXiv 1806.04498).
    "ema": Choice((0.0, 0.9, 0.99, 0.995, 0.999), default=0.995),
    # The largest norm of a gradient; 0 is none. Pascanu et al. 2013 (arXiv 1211.5063), for recurrent networks.
    "clip": Choice((0.0, 0.1, 1.0, 10.0), default=0.0),
    # Of the discriminator's state, one mask a series: Gal and Ghahramani 2016 (arXiv 1512.05287). Penalties on the
    # weights are left to a study.
    "dropout": regularization()["dropout"],
}

# The paper's code trains the discriminator by plain SGD at a rate of .1, within the range, and the generator by Adam at
# its defaults. First moments from .5, as Radford et al. 2016 (arXiv 1511.06434) for GANs.
SPACE = Space.of(
    "rgan",
    _NETWORKS,
    _LOSS,
    for_player("discriminator", {**learning_rate(high=0.1, default=1e-2), **optimizer(beta1=0.5)}),
    for_player("generator", learning_rate(high=5e-3, default=2e-3)),
    {"generator.optimizer": "adam", "generator.beta1": Float(0.0, 0.95, default=0.5)},
    schedule(),
    batch_size(),
)
