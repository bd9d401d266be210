"""Penalties on the weights, and dropout. Goes together with the block `optimizer`."""

from search_spaces import Choice, Entry, Float

# 0 is an option of its own: a log scale never gets there, and a penalty of 0 costs the trainer nothing. Between two
# decades there is little to find, so a few values serve as well as a range.
_STRENGTHS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)


def regularization() -> dict[str, Entry]:
    """`l1`, `dropout`, and by optimizer either `l2` or `weight_decay`.

    An L2 penalty in the gradient and decay apart from it differ under an adaptive optimizer (Loshchilov and Hutter
    2019, arXiv 1711.05101), hence two names; AdamW is the optimizer that has the second.
    """
    return {
        # 0: torch.optim has no L1 penalty.
        "l1": Choice(_STRENGTHS, default=0.0),
        # 0: `weight_decay` of torch's SGD, Adam and RMSprop, which is this penalty. Krizhevsky, Sutskever and Hinton
        # 2012 took 5e-4 (section 5), inside the list's span.
        "l2": Choice(_STRENGTHS, default=0.0, when={"optimizer": ("sgd", "adam", "rmsprop")}),
        # 1e-2: torch.optim.AdamW. It is multiplied by the learning rate, so 1e-4 is as good as none.
        "weight_decay": Float(1e-4, 1e-1, default=1e-2, log=True, when={"optimizer": "adamw"}),
        # 0: the VAE of Kingma and Welling 2014 (arXiv 1312.6114) has none. At most 0.5, the rate of Srivastava et al.
        # 2014 (JMLR 15, 1929-1958) for hidden units.
        "dropout": Float(0.0, 0.5, default=0.0),
    }
