"""The space of the attention GAN for text: its networks, its two stages, and how they are trained. For short rows."""

from search_spaces import Choice, Entry, Float, Space, for_player
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from search_spaces.blocks.schedule import schedule

# They fix the shapes of the tensors, and trials of equal shape can be trained together: hence few values of each.
_NETWORKS: dict[str, Entry] = {
    # Of the transformer, and the filters of each width of the discriminator. RelGAN (Nie et al. 2019, ICLR) has 32
    # numbers for a token, 512 of memory and 300 filters, for words and on a GPU.
    "width": Choice((64, 128), default=64),
    "depth": Choice((2, 3), default=2),
    # 2 in RelGAN's experiments.
    "heads": Choice((2, 4), default=4),
}

# What is of use only where a part of the budget is left to it.
_ADVERSARIAL = {"mle_share": (0.0, 0.3, 0.6, 0.8, 0.9)}

_STAGES: dict[str, Entry] = {
    # The share of the budget in which the generator learns by likelihood. RelGAN: 150 epochs and then 2000 steps. 1
    # leaves it at that, so that a search says whether the adversarial stage is of use.
    "mle_share": Choice((0.0, 0.3, 0.6, 0.8, 0.9, 1.0), default=0.8),
    # The last temperature of the Gumbel-softmax. RelGAN: 1/100 and 1/1000 for its soft samples; ours are one-hot, so
    # it needs none so low. Jang et al. 2017 (arXiv 1611.01144) anneal to 0.5.
    "temperature": Float(0.01, 1.0, default=0.1, log=True, when=_ADVERSARIAL),
    # Exponential: the default of RelGAN's code.
    "anneal": Choice(("none", "linear", "exponential"), default="exponential", when=_ADVERSARIAL),
}

_LOSS: dict[str, Entry] = {
    # RelGAN takes the relativistic one, which is not offered. Hinge: the choice of SAGAN (arXiv 1805.08318).
    "loss": Choice(("non-saturating", "hinge", "wgan-gp", "least-squares"), default="hinge", when=_ADVERSARIAL),
    # Mescheder et al. 2018 (arXiv 1801.04406), of the gradient by the one-hot vectors of real rows.
    "r1": Choice(
        (0.0, 1e-2, 0.1, 1.0, 10.0),
        default=0.0,
        when={"loss": ("non-saturating", "hinge", "least-squares")},
    ),
    # 10: Gulrajani et al. 2017 (arXiv 1704.00028), who train on text so as well.
    "gp": Choice((1.0, 10.0), default=10.0, when={"loss": "wgan-gp"}),
    # Miyato et al. 2018 (arXiv 1802.05957); RelGAN's code has it as an option.
    "spectral_norm": Choice((False, True), default=True, when=_ADVERSARIAL),
    # Steps of the discriminator for one of the generator. 5: RelGAN.
    "critic_steps": Choice((1, 2, 5), default=1, when=_ADVERSARIAL),
    # The decay of the generator's moving average; 0 is none, so that before its stage it is the control.
    "ema": Choice((0.0, 0.9, 0.99), default=0.0),
    # RelGAN keeps 0.75 of the filters' answers.
    "dropout": Float(0.0, 0.5, default=0.0, when=_ADVERSARIAL),
    # The largest norm of a gradient; 0 is none. RelGAN: 5.
    "clip": Choice((0.0, 1.0, 5.0), default=1.0),
}

_CONTROL: dict[str, Entry] = {
    # RelGAN: 1e-2.
    **learning_rate(default=3e-3),
    # 0.1: Vaswani et al. 2017 (arXiv 1706.03762), section 5.4. Here it is one mask a row, and on english 0.1 was slow
    # to learn.
    "dropout": Float(0.0, 0.5, default=0.03),
    # Down to a tenth by a cosine, as Brown et al. 2020 (arXiv 2005.14165, appendix B) train such models.
    "schedule": "cosine",
    "schedule_floor": 0.1,
    "warmup": 0.05,
}

# RelGAN: 1e-4 for both players once likelihood is over. On english a generator at 1e-4 lost in one epoch what it had
# learned, and at 1e-5 kept it: reverse_lm went from 2.5 to 3.5, or stayed.
SPACE = Space.of(
    "attention_gan_text",
    _NETWORKS,
    _STAGES,
    _LOSS,
    for_player("control", _CONTROL),
    for_player("discriminator", learning_rate(default=1e-3)),
    for_player("generator", learning_rate(low=1e-6, high=1e-3, default=1e-5)),
    schedule(),
    # 64: RelGAN. On a few thousand rows, 32 gives likelihood the steps that it needs.
    {"batch_size": Choice((16, 32, 64, 128), default=32)},
    optimizer(),
)
