"""Transfer: whether a training begins with the weights of an earlier one, and what of them it keeps."""

from search_spaces import Choice, Entry, Float

# From scratch is an option, so that a search says whether the transfer was of use.
SCRATCH = "none"


def transfer(source: str) -> dict[str, Entry]:
    """`transfer` with `freeze` and `fine_tune`; `source` is a folder with `weights.safetensors`, such as an export's.

    A relative path is meant from where the search is started.
    """
    begun = {"transfer": source}
    return {
        "transfer": Choice((SCRATCH, source), default=source),
        # The first layers of each player that stay as they were loaded. Mo et al. 2020 (arXiv 2002.10964, section 4)
        # freeze some of a discriminator's; `discriminator.freeze` is for it alone.
        "freeze": Choice((0, 1, 2), default=0, when=begun),
        # The factor on the learning rate; 1 goes on at the rate that a training from scratch would have.
        "fine_tune": Float(0.01, 1.0, default=1.0, log=True, when=begun),
    }
