"""The optimizer and the parameters that only some optimizers have. The names are those of torch.optim."""

from search_spaces import Choice, Entry, Float


def optimizer(*, beta1: float = 0.9) -> dict[str, Entry]:
    """`optimizer`, and under it `momentum`, `beta1` with this default and `beta2`, or `alpha`."""
    with_momentum, with_betas = {"optimizer": ("sgd", "rmsprop")}, {"optimizer": ("adam", "adamw")}
    return {
        # Adam: the training default of Pythae (Chadebec et al. 2022, arXiv 2206.08309).
        "optimizer": Choice(("sgd", "adam", "adamw", "rmsprop"), default="adam"),
        # 0.9: Krizhevsky, Sutskever and Hinton 2012, section 5. torch's own default of 0 is in the range.
        "momentum": Float(0.0, 0.99, default=0.9, when=with_momentum),
        # 0.9 and 0.999: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1; AdamW in torch has the same.
        "beta1": Float(0.0, 0.95, default=beta1, when=with_betas),
        "beta2": Choice((0.9, 0.99, 0.999), default=0.999, when=with_betas),
        # 0.99: torch.optim.RMSprop. 0.9 is the value of Tieleman and Hinton 2012 (Coursera, lecture 6.5).
        "alpha": Choice((0.9, 0.99, 0.999), default=0.99, when={"optimizer": "rmsprop"}),
    }
