"""What members of a stack may differ in: each technique with its values, and how it shows that it acted."""

from collections.abc import Callable
from dataclasses import dataclass

from plain import Config, Plain
from together import apart


def _always(plain: Plain) -> bool:
    """What it did shows in the weights only."""
    return True


@dataclass(frozen=True)
class Technique:
    """values: the ways in which a member may have it, of which it can have one. acted: on this training."""

    name: str
    values: dict[str, Config]
    acted: Callable[[Plain], bool] = _always

    def __str__(self) -> str:
        return self.name


def excluded(config: Config) -> bool:
    """Whether two techniques of it leave no room for one another: a gradient penalty takes the place of R1."""
    return config.get("loss") == "wgan-gp" and "r1" in config


def one(name: str, acted: Callable[[Plain], bool] = _always, /, **config: object) -> Technique:
    return Technique(name, {name: config}, acted)


def _rates(plain: Plain) -> list[float]:
    """The rate at the end of each epoch, of the last player."""
    return [value for logs in plain.logs for name, value in logs.items() if name in ("lr", "generator.lr")]


def _scheduled(plain: Plain) -> bool:
    return plain.acts["reduced"] > 0 if plain.config["schedule"] == "plateau" else len(set(_rates(plain))) > 1


def _warmed_up(plain: Plain) -> bool:
    rates = _rates(plain)
    return rates[0] < rates[1]


def _sparse(plain: Plain) -> bool:
    zeros = sum(int((tensor == 0.0).sum()) for name, tensor in plain.weights[-1].items() if " average" not in name)
    return zeros > 0


def _averaged(plain: Plain) -> bool:
    found, front = plain.weights[-1], "generator average."
    averages = {name.removeprefix(front): tensor for name, tensor in found.items() if name.startswith(front)}
    return apart({name: found[name] for name in averages}, averages) > 1e-3


def _other_rates(plain: Plain) -> bool:
    return plain.logs[0]["discriminator.lr"] > plain.logs[0]["generator.lr"]


def _counts(name: str) -> Callable[[Plain], bool]:
    return lambda plain: plain.acts[name] > 0


COMMON = [
    Technique(
        "optimizer",
        {
            "sgd": {"optimizer": "sgd", "lr": 0.01},
            "momentum": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.8},
            "adamw": {"optimizer": "adamw", "beta1": 0.7, "beta2": 0.99},
            "rmsprop": {"optimizer": "rmsprop", "alpha": 0.9, "lr": 0.01},
            "rmsprop-momentum": {"optimizer": "rmsprop", "alpha": 0.95, "momentum": 0.5, "lr": 0.005},
            "adamax": {"optimizer": "adamax", "beta1": 0.6, "beta2": 0.98},
        },
        lambda plain: type(plain.players[0].optimizer).__name__.lower() == plain.config["optimizer"],
    ),
    Technique(
        "schedule",
        {
            "exponential": {"schedule": "exponential", "schedule_floor": 0.05},
            "step": {"schedule": "step", "step_factor": 0.4, "step_every": 0.3},
            "cosine": {"schedule": "cosine", "schedule_floor": 0.1},
            "linear": {"schedule": "linear", "schedule_floor": 0.0},
            "plateau": {"schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 0.0},
        },
        _scheduled,
    ),
    one("warmup", _warmed_up, warmup=0.3),
    one("batch_size", lambda plain: len(plain.data.train) % plain.batch_size > 0, batch_size=13),
    one("l2", l2=0.1),
    one("weight_decay", weight_decay=0.2),
    one("dropout", _counts("dropped"), dropout=0.3),
    one("clip", _counts("clipped"), clip=0.5),
]
OF_VAE = [
    one("l1", _sparse, l1=0.02),
    one("beta", beta=0.3),
    one("kl_warmup", _counts("annealed"), kl_warmup=0.6),
    one("free_bits", _counts("floored"), free_bits=0.4),
]
OF_GAN = [
    one("l1", _sparse, l1=0.002),
    Technique(
        "loss",
        {
            "hinge": {"loss": "hinge"},
            "least-squares": {"loss": "least-squares"},
            "wgan-gp": {"loss": "wgan-gp", "gp": 0.5},
        },
        lambda plain: plain.acts[str(plain.config["loss"])] > 0,
    ),
    one("r1", _counts("penalized"), r1=0.3),
    one("spectral_norm", _counts("turned"), spectral_norm=True),
    one("critic_steps", lambda plain: plain.players[1].moves < plain.players[0].moves, critic_steps=3),
    one("ema", _averaged, ema=0.9),
    one("two_rates", _other_rates, **{"generator.lr": 0.002}),
]
# Convolutions cost more, so each technique by itself; L1 on both players would leave a generator of zeros.
OF_CONV = [one("l1", _sparse, **{"discriminator.l1": 0.002}), *(known for known in OF_GAN if known.name != "l1")]
# How a player is moved, whatever its loss is.
OF_TRAINER = {"optimizer", "schedule", "warmup", "l2", "weight_decay", "clip"}
TECHNIQUES = {"vae": COMMON + OF_VAE, "mlp": COMMON + OF_GAN, "conv": COMMON + OF_CONV}
