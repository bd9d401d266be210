"""Augmentation of what a discriminator sees, by the kind of the rows: how likely it is, and how strong each change.

Points have none. The strengths are largest values, drawn from evenly; `trainables/training/augment.py` says of what.
"""

from search_spaces import Choice, Entry, Float

# 0 is an option of its own, and costs nothing. 1: DiffAugment (Zhao et al. 2020, arXiv 2006.10738). Karras et al. 2020
# (ADA, arXiv 2006.06676, section 2) saw no change leak into the samples below 0.8.
_PROBABILITIES = (0.2, 0.5, 0.8, 1.0)
_ON = {"augment": _PROBABILITIES}


def image_augmentation(*, flips: bool = False) -> dict[str, Entry]:
    """`augment` with its adaptation, and under it `rotate`, `zoom`, `translate`, `warp`.

    With `flips` also `flip`: only for images whose mirror image could be one of them, so not for digits or text.
    """
    return {
        **_probability(),
        # Degrees. ADA turns by any angle, which makes a 9 of a 6; a small one does not.
        "rotate": Float(0.0, 20.0, default=0.0, when=_ON),
        # ADA: a standard deviation of 0.2 of the binary logarithm, which is 0.14 of the natural one.
        "zoom": Float(0.0, 0.3, default=0.0, when=_ON),
        # 1/8: DiffAugment and ADA; 0, since digits that are all in the middle got worse by it. A choice, since shifts
        # are of whole places: 1/8 of 8 is one, and less is none.
        "translate": Choice((0.0, 0.125, 0.25), default=0.0, when=_ON),
        # U-Net (Ronneberger et al. 2015, arXiv 1505.04597, section 3.1): 10 of 512 places, 0.02.
        "warp": Float(0.0, 0.1, default=0.0, when=_ON),
        # 1/2: ADA.
        **({"flip": Choice((0.0, 0.5), default=0.5, when=_ON)} if flips else {}),
    }


def series_augmentation() -> dict[str, Entry]:
    """`augment` with its adaptation, and under it `jitter`, `scaling`, `time_warp`, `crop`.

    The changes are those of Um et al. 2017 (arXiv 1706.00527) and of the window slicing of Le Guennec et al. 2016; the
    figures are the defaults of uchidalab/time_series_augmentation (Iwana and Uchida 2021, arXiv 2007.15951).
    """
    return {
        **_probability(),
        # 0.03.
        "jitter": Float(0.0, 0.2, default=0.0, when=_ON),
        # 0.1, as a standard deviation of the factor.
        "scaling": Float(0.0, 0.4, default=0.1, when=_ON),
        # 0.2, as a standard deviation of the speed at 4 points.
        "time_warp": Float(0.0, 0.6, default=0.0, when=_ON),
        # 0.1: nine tenths are kept.
        "crop": Float(0.0, 0.3, default=0.0, when=_ON),
    }


def _probability() -> dict[str, Entry]:
    """`augment`, `augment_target` and `augment_speed`."""
    return {
        "augment": Choice((0.0, *_PROBABILITIES), default=0.0),
        # The mean sign of the logits of reals that the probability is steered to, from where it begins; 0 leaves it
        # there. 0.6: ADA (section 3). Under R1 a discriminator of digits is not so sure; hence 0.3.
        "augment_target": Choice((0.0, 0.3, 0.6), default=0.0, when=_ON),
        # Thousands of rows in which the probability goes from 0 to 1. ADA takes 500 of 25,000; small data are seen
        # some tens of thousands of times in all.
        "augment_speed": Float(5.0, 500.0, default=50.0, log=True, when={"augment_target": (0.3, 0.6)}),
    }
