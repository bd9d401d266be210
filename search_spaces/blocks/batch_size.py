"""The batch size, searched together with the learning rate, since the best of one depends on the other."""

from search_spaces import Choice, Entry


def batch_size() -> dict[str, Entry]:
    """`batch_size`, a power of two.

    The default is that of Pythae (Chadebec et al. 2022, arXiv 2206.08309, `BaseTrainerConfig`). A choice and not a
    range, because batches of a few sizes can be trained together.
    """
    return {"batch_size": Choice((16, 32, 64, 128, 256), default=64)}
