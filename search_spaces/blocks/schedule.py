"""How the learning rate changes during training. Times are fractions of the budget, so a schedule fits any budget."""

from search_spaces import Choice, Entry, Float


def schedule() -> dict[str, Entry]:
    """`schedule` and `warmup`, and under the first `schedule_floor`, or `step_*`, or `plateau_*`."""
    return {
        # Constant: torch.optim without a scheduler, as in Adam's and the VAE's papers (arXiv 1412.6980, 1312.6114).
        "schedule": Choice(("constant", "exponential", "step", "cosine", "linear", "plateau"), default="constant"),
        # A linear rise from 0, before any schedule. 0: none, as above. The warm-up of Goyal et al. 2017 (arXiv
        # 1706.02677, section 2.2) is 5 of 90 epochs, well inside the range.
        "warmup": Float(0.0, 0.2, default=0.0),
        # The last learning rate as a share of the first. 0.1: Brown et al. 2020 (arXiv 2005.14165, appendix B),
        # cosine decay down to a tenth. Above 0, because an exponential never gets to 0.
        "schedule_floor": Float(
            1e-3, 0.5, default=0.1, log=True, when={"schedule": ("exponential", "cosine", "linear")}
        ),
        # 0.1: gamma of torch's StepLR. 1/3: every 30 of 90 epochs, the defaults of torchvision's
        # references/classification/train.py.
        "step_factor": Float(0.05, 0.8, default=0.1, log=True, when={"schedule": "step"}),
        "step_every": Float(0.1, 0.5, default=1 / 3, when={"schedule": "step"}),
        # 0.1, and a patience of 10 epochs: torch's ReduceLROnPlateau; over the 100 epochs of Pythae's
        # `BaseTrainerConfig` (arXiv 2206.08309) that is a tenth of the budget.
        "plateau_factor": Float(0.05, 0.8, default=0.1, log=True, when={"schedule": "plateau"}),
        "plateau_patience": Float(0.02, 0.3, default=0.1, when={"schedule": "plateau"}),
    }
