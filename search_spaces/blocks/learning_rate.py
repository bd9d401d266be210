"""The learning rate: the initial one, before warm-up and schedule act on it."""

from search_spaces import Entry, Float


def learning_rate(*, low: float = 1e-4, high: float = 1e-2, default: float = 1e-3) -> dict[str, Entry]:
    """`lr`, on a log scale.

    The default is that of Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1) and of torch.optim. The range spans
    a decade on either side of it; it holds the 1e-4 of Pythae (Chadebec et al. 2022, arXiv 2206.08309).
    """
    return {"lr": Float(low, high, default=default, log=True)}
