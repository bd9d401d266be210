"""The space of the VAE family: its networks, its loss, and how it is trained. Ranges are for small images."""

from search_spaces import Choice, Entry, Float, Int, Space
from search_spaces.blocks.batch_size import batch_size
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from search_spaces.blocks.regularization import regularization
from search_spaces.blocks.schedule import schedule

# Latent 16, width 256, two hidden layers: the VAE for digits in jmtomczak/intro_dgm, vaes/vae_example.ipynb. They fix
# the shapes of the tensors; a few values each, so that trials of equal shape can be trained together. The likelihood is
# the one that fits the data; a study may add `likelihood` and choose another.
_NETWORKS: dict[str, Entry] = {
    # A study may set it to conv for square images, to gru for series.
    "architecture": "mlp",
    "latent": Choice((2, 4, 8, 16, 32, 64), default=16),
    # With conv these are the channels of the finest map, twice as many at each halving; with gru the recurrent units.
    "width": Choice((64, 128, 256, 512), default=256),
    # The side of the images decides it for conv; a recurrent pair has one layer.
    "depth": Int(1, 3, default=2, when={"architecture": "mlp"}),
}

# With the defaults the loss is the plain negative ELBO (Kingma and Welling 2014, arXiv 1312.6114, equation 3).
_LOSS: dict[str, Entry] = {
    # The weight of the KL term: Higgins et al. 2017 (ICLR, "beta-VAE"), where 1 is the VAE.
    "beta": Float(0.1, 10.0, default=1.0, log=True),
    # The share of the budget over which beta rises from 0: Bowman et al. 2016 (arXiv 1511.06349).
    "kl_warmup": Float(0.0, 0.5, default=0.0),
    # Nats a latent may carry free of charge: Kingma et al. 2016 (arXiv 1606.04934).
    "free_bits": Float(0.0, 0.5, default=0.0),
}

SPACE = Space.of("vae", _NETWORKS, _LOSS, learning_rate(), schedule(), batch_size(), optimizer(), regularization())
