"""The reference: trainings of the VAE and the GAN in plain torch, one model at a time, written from the papers.

Stock `torch.optim` over separate leaves, `backward`, real batches, penalties and schedules by their formulas. From the
package come what defines a run: initial weights, and the draws of rows and noise. Nothing of the trainer or of the
models' losses is used.
"""

import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F  # noqa: N812

from trainables.data._data import Data
from trainables.models._family import Family, as_module
from trainables.training.params import ParameterValue, Params
from trainables.training.players import Epoch
from trainables.training.random import Order, stream

Logs = dict[str, float]
Config = Mapping[str, ParameterValue]


@dataclass
class Step:
    """What a loss needs besides weights: rows, noise, the share of the budget spent, and where to count what acts."""

    x: Tensor
    labels: Tensor | None
    noise: Mapping[str, Tensor]
    progress: float
    acts: Counter[str]


@dataclass
class PlainPlayer:
    """One network's leaves with their stock optimizer."""

    name: str
    config: Config
    leaves: dict[str, Tensor]
    epochs: int
    average: dict[str, Tensor] = field(default_factory=dict)
    moves: int = 0
    watched: int = 0
    norm: float = math.nan

    def __post_init__(self) -> None:
        self.optimizer = self._stock()
        if self.number("ema") and self.name == "generator":
            self.average = {name: leaf.detach().clone() for name, leaf in self.leaves.items()}
        if self.value("schedule", "constant") == "plateau":
            self._watched = torch.optim.SGD([torch.zeros(1)], lr=1.0)
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                self._watched,
                factor=self.number("plateau_factor"),
                patience=round(self.number("plateau_patience") * self.epochs),
                threshold_mode="abs",
                eps=0.0,
            )

    def value(self, name: str, default: ParameterValue) -> ParameterValue:
        return self.config.get(f"{self.name}.{name}", self.config.get(name, default))

    def number(self, name: str, default: float = 0.0) -> float:
        return float(self.value(name, default))

    def lr(self, progress: float) -> float:
        schedule, warmup = self.value("schedule", "constant"), self.number("warmup")
        floor = self.number("schedule_floor")
        if progress < warmup:
            factor = 0.01 + 0.99 * progress / warmup
        else:
            since = progress - warmup
            left = since / (1.0 - warmup)
            factor = {
                "constant": 1.0,
                "plateau": 1.0,
                "exponential": floor**left,
                "step": self.number("step_factor") ** math.floor(since / self.number("step_every", 1.0) + 1e-9),
                "cosine": floor + (1.0 - floor) / 2.0 * (1.0 + math.cos(math.pi * left)),
                "linear": 1.0 + left * (floor - 1.0),
            }[str(schedule)]
        return self.number("lr") * factor * (self._watched.param_groups[0]["lr"] if schedule == "plateau" else 1.0)

    def watch(self, value: float, acts: Counter[str]) -> None:
        """The end of an epoch, at which a plateau shows."""
        if self.value("schedule", "constant") == "plateau":
            before = self._watched.param_groups[0]["lr"]
            # torch's relative threshold is a share of the best, which is of no use where a loss is negative.
            self._plateau.threshold = 1e-4 * abs(self._plateau.best) if self.watched else 0.0
            self._plateau.step(value)
            self.watched += 1
            acts["reduced"] += self._watched.param_groups[0]["lr"] < before

    def move(self, lr: float, acts: Counter[str]) -> None:
        leaves = list(self.leaves.values())
        clip, l2, decay, l1 = (self.number(name) for name in ("clip", "l2", "weight_decay", "l1"))
        self.norm = float(nn.utils.get_total_norm([leaf.grad for leaf in leaves]))
        if clip:
            nn.utils.clip_grad_norm_(leaves, clip)
            acts["clipped"] += self.norm > clip
        with torch.no_grad():
            for leaf in leaves:
                if l2 and isinstance(self.optimizer, torch.optim.AdamW):
                    leaf.grad.add_(l2 * leaf)
                elif decay and not isinstance(self.optimizer, torch.optim.AdamW):
                    leaf.mul_(1.0 - lr * decay)
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        self.moves += 1
        with torch.no_grad():
            for leaf in leaves if l1 else ():
                threshold = lr * l1 / self._metric(leaf)
                leaf.copy_(leaf.sign() * (leaf.abs() - threshold).clamp(min=0.0))
            kept = min(self.number("ema"), (1 + self.moves) / (10 + self.moves))
            for name, average in self.average.items():
                average.copy_(kept * average + (1.0 - kept) * self.leaves[name])

    def _metric(self, leaf: Tensor) -> Tensor | float:
        """The denominator of the step that was made, in which the proximal step of L1 is taken."""
        state, group = self.optimizer.state[leaf], self.optimizer.param_groups[0]
        if isinstance(self.optimizer, torch.optim.SGD):
            return 1.0
        if isinstance(self.optimizer, torch.optim.Adamax):
            return state["exp_inf"]
        if isinstance(self.optimizer, torch.optim.RMSprop):
            return state["square_avg"].sqrt() + group["eps"]
        corrected = state["exp_avg_sq"] / (1.0 - group["betas"][1] ** self.moves)
        return corrected.sqrt() + group["eps"]

    def _stock(self) -> torch.optim.Optimizer:
        leaves, lr, l2 = list(self.leaves.values()), self.number("lr"), self.number("l2")
        betas = self.number("beta1", 0.9), self.number("beta2", 0.999)
        momentum, decay = self.number("momentum"), self.number("weight_decay")
        match self.value("optimizer", ""):
            case "sgd":
                return torch.optim.SGD(leaves, lr=lr, momentum=momentum, weight_decay=l2, foreach=False)
            case "adam":
                return torch.optim.Adam(leaves, lr=lr, betas=betas, weight_decay=l2, foreach=False)
            case "adamw":
                return torch.optim.AdamW(leaves, lr=lr, betas=betas, weight_decay=decay, foreach=False)
            case "rmsprop":
                alpha = self.number("alpha", 0.99)
                return torch.optim.RMSprop(
                    leaves, lr=lr, alpha=alpha, momentum=momentum, weight_decay=l2, foreach=False
                )
            case "adamax":
                return torch.optim.Adamax(leaves, lr=lr, betas=betas, weight_decay=l2, foreach=False)
            case other:
                raise ValueError(other)


class Plain:
    """One training. `logs` hold a mapping an epoch, `weights` the leaves and averages after each."""

    def __init__(self, family: type[Family], data: Data, config: Config, *, seed: int, epochs: int) -> None:
        self.model = family.build(Params(config), data=data, generator=stream(seed, "init"))
        self.data, self.config, self.epochs = data, config, epochs
        self.batch_size = int(config["batch_size"])
        self.players = [PlainPlayer(name, config, self._leaves(name), epochs=epochs) for name in family.players]
        self.logs: list[Logs] = []
        self.weights: list[dict[str, Tensor]] = []
        self.acts: Counter[str] = Counter()
        self._order, self._noise = Order(len(data.train), seed=seed), stream(seed, "noise")
        # The vectors of spectral norms, which training begins with.
        self._vectors = {name: buffer.clone() for name, buffer in as_module(self.model).named_buffers()}

    def until(self, epoch: int) -> "Plain":
        """Go on to the end of this epoch, where it was not reached yet."""
        while len(self.logs) < epoch:
            self._train()
        return self

    def number(self, name: str, default: float = 0.0) -> float:
        return float(self.config.get(name, default))

    def _leaves(self, player: str) -> dict[str, Tensor]:
        own = as_module(self.model).get_submodule(player).named_parameters(prefix=player)
        return {name: parameter.detach().clone().requires_grad_() for name, parameter in own}

    def _train(self) -> None:
        rows, size, done = len(self.data.train), self.batch_size, len(self.logs)
        first, last, total = (math.ceil(epoch * rows / size) for epoch in (done, done + 1, self.epochs))
        found: dict[str, list[Logs]] = {player.name: [] for player in self.players}
        for step, rows, noise in self._draws(first, last, total):
            progress = step / total
            for player in self.players:
                if player.name == "generator" and step % int(self.number("critic_steps", 1)):
                    continue
                for leaf in self._all().values():
                    leaf.grad = None
                x, labels = self.data.train.x[rows], self.data.train.labels
                of_rows = labels[rows] if labels is not None and self.config.get("conditional") else None
                loss, logs = self._loss(player.name, Step(x, of_rows, noise[player.name], progress, self.acts))
                loss.backward()
                found[player.name].append({name: float(value.detach()) for name, value in logs.items()})
                player.move(player.lr(progress), self.acts)
        means: Logs = {}
        for player in self.players:
            front = f"{player.name}." if len(self.players) > 1 else ""
            own = found[player.name]
            mean = {name: sum(logs[name] for logs in own) / len(own) for name in (own[0] if own else ())}
            means |= {front + name: value for name, value in mean.items()}
            means[front + "lr"] = player.lr((last - 1) / total)
            if own:
                means[front + "grad_norm"] = player.norm
                # A loss of a VAE under annealing is watched as if there was none.
                annealed = mean["loss"] if front else mean["reconstruction"] + self.number("beta", 1.0) * mean["kl"]
                player.watch(annealed, self.acts)
        self.logs.append(means)
        averages = {f"{player.name} average": player.average for player in self.players}
        kept = {name: leaf.detach().clone() for name, leaf in self._all().items()}
        kept |= {f"{front}.{name}": a.clone() for front, own in averages.items() for name, a in own.items()}
        self.weights.append(kept)

    def _draws(self, first: int, last: int, total: int) -> Iterator[tuple[int, Tensor, dict[str, dict[str, Tensor]]]]:
        size = self.batch_size
        epoch = Epoch(first=first, last=last, total=total, batch_size=size, order=self._order.take, noise=self._noise)
        for chunk in epoch.chunks(self.model, {**type(self.model).knobs(Params(self.config))}):
            for place, step in enumerate(chunk.steps):
                own = slice(place * size, (place + 1) * size)
                noise = {player: {name: drawn[own] for name, drawn in of.items()} for player, of in chunk.noise.items()}
                yield step, chunk.rows[own], noise

    def _all(self) -> dict[str, Tensor]:
        return {name: leaf for player in self.players for name, leaf in player.leaves.items()}

    def _loss(self, player: str, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        if player == "vae":
            return self._vae(step)
        return self._generator(step) if player == "generator" else self._discriminator(step)

    def _scaled(self, x: Tensor) -> Tensor:
        dtype = next(iter(self._all().values())).dtype
        return x.to(dtype) if self.data.levels is None else 2.0 * x.to(dtype) / (self.data.levels - 1) - 1.0

    def _perceptron(self, name: str, x: Tensor, uniforms: Sequence[Tensor], *, leak: float, step: Step) -> Tensor:
        weights = self._all()
        depth = sum(key.startswith(f"{name}.layers.") for key in weights) // 2
        for layer in range(depth):
            x = F.linear(x, self._weight(f"{name}.layers.{layer}"), weights[f"{name}.layers.{layer}.bias"])
            if layer < depth - 1:
                x = F.leaky_relu(x, leak)
                x = self._dropped(x, uniforms[layer], step) if uniforms else x
        return x

    def _dropped(self, x: Tensor, uniform: Tensor, step: Step) -> Tensor:
        """Inverted dropout; of an image whole channels."""
        rate = self.number("dropout")
        kept = uniform >= rate
        step.acts["dropped"] += int((~kept).sum())
        return torch.where(kept.view(*kept.shape, *[1] * (x.dim() - 2)), x / (1.0 - rate), torch.zeros_like(x))

    def _vae(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The negative evidence lower bound: Kingma and Welling 2014, with the weight and floor of its KL."""
        width, depth = int(self.config["width"]), int(self.config["depth"])
        uniforms = step.noise["dropout"].split(width, 1) if self.number("dropout") else ()
        pixels, levels = step.x[0].numel(), self.data.levels
        encoded = self._perceptron(
            "vae.encoder", self._scaled(step.x).flatten(1), uniforms[:depth], leak=0.01, step=step
        )
        mean, log_variance = encoded.split(encoded.shape[1] // 2, 1)
        posterior = Normal(mean, (log_variance.clamp(-10.0, 10.0) / 2.0).exp(), validate_args=False)
        z = posterior.mean + posterior.stddev * step.noise["latent"]
        logits = self._perceptron("vae.decoder", z, uniforms[depth:], leak=0.01, step=step)
        surprise = F.cross_entropy(logits.view(-1, levels, pixels), step.x.flatten(1).long(), reduction="none")
        prior = Normal(torch.zeros_like(mean), torch.ones_like(mean), validate_args=False)
        kl = kl_divergence(posterior, prior).mean(0)
        reconstruction, floor, warmup = surprise.sum(1).mean(), self.number("free_bits"), self.number("kl_warmup")
        weight = self.number("beta", 1.0) * (min(1.0, step.progress / warmup) if warmup else 1.0)
        step.acts["floored"] += int((kl < floor).sum())
        step.acts["annealed"] += weight < self.number("beta", 1.0)
        loss = reconstruction + weight * torch.where(kl < floor, torch.full_like(kl, floor), kl).sum()
        return loss, {"loss": loss, "reconstruction": reconstruction, "kl": kl.sum()}

    def _fakes(self, step: Step) -> Tensor:
        weights, z = self._all(), self._labeled(step.noise["latent"], step.noise.get("label"))
        if "generator.first.weight" not in weights:
            x = self._perceptron("generator", z, (), leak=0.2, step=step)
        else:
            x = F.linear(z, weights["generator.first.weight"], weights["generator.first.bias"])
            blocks = sum(key.startswith("generator.blocks.") for key in weights) // 2
            channels = weights["generator.blocks.0.weight"].shape[0]
            side = math.isqrt(x.shape[1] // channels)
            x = x.view(len(x), channels, side, side)
            for block in range(blocks):
                front = f"generator.blocks.{block}"
                x = F.leaky_relu(x, 0.2)
                x = F.conv_transpose2d(x, weights[f"{front}.weight"], weights[f"{front}.bias"], stride=2, padding=1)
        return x if self.data.levels is None else x.tanh()

    def _labeled(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Each row with its class, one-hot: beside numbers, or beside images as maps (Mirza and Osindero 2014)."""
        if labels is None:
            return x
        classes = F.one_hot(labels, self.data.classes).to(x.dtype)
        maps = classes.view(*classes.shape, *[1] * (x.dim() - 2)).expand(*classes.shape, *x.shape[2:])
        return torch.cat([x, maps], 1)

    def _logits(self, x: Tensor, labels: Tensor | None, uniform: Tensor | None, step: Step) -> Tensor:
        weights = self._all()
        if "discriminator.last.weight" not in weights:
            width = int(self.config["width"])
            uniforms = () if uniform is None else uniform.split(width, 1)
            seen = self._labeled(x.flatten(1), labels)
            return self._perceptron("discriminator", seen, uniforms, leak=0.2, step=step)[:, 0]
        blocks = sum(key.startswith("discriminator.blocks.") for key in weights) // 2
        taken, x = 0, self._labeled(x, labels)
        for block in range(blocks):
            front = f"discriminator.blocks.{block}"
            x = F.conv2d(x, self._weight(front), weights[f"{front}.bias"], stride=2, padding=1)
            x = F.leaky_relu(x, 0.2)
            if uniform is not None:
                x = self._dropped(x, uniform[:, taken : taken + x.shape[1]], step)
                taken += x.shape[1]
        return F.linear(x.flatten(1), self._weight("discriminator.last"), weights["discriminator.last.bias"])[:, 0]

    def _weight(self, layer: str) -> Tensor:
        """Its weight, over its largest singular value where there is a spectral norm (Miyato et al. 2018)."""
        weight = self._all()[f"{layer}.weight"]
        if not self.config.get("spectral_norm") or not layer.startswith("discriminator."):
            return weight
        u, v = self._vectors[f"{layer}.u"], self._vectors[f"{layer}.v"]
        return weight / torch.dot(u, torch.mv(weight.flatten(1), v))

    def _turn(self, step: Step) -> None:
        """One power iteration (algorithm 1 of the paper) for each layer."""
        layers = [name.removesuffix(".u") for name in self._vectors if name.endswith(".u")]
        with torch.no_grad():
            for layer in layers if self.config.get("spectral_norm") else ():
                matrix = self._all()[f"{layer}.weight"].flatten(1)
                left = torch.mv(matrix, self._vectors[f"{layer}.v"])
                self._vectors[f"{layer}.u"] = left / left.norm()
                right = torch.mv(matrix.t(), self._vectors[f"{layer}.u"])
                self._vectors[f"{layer}.v"] = right / right.norm()
                step.acts["turned"] += 1

    def _discriminator(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy (Goodfellow et al. 2014), hinge (Lim and Ye 2017), WGAN-GP (Gulrajani et al. 2017, eq. 3), or
        least squares (Mao et al. 2017, eq. 9), and R1 (Mescheder et al. 2018, eq. 9)."""
        self._turn(step)
        noise, kind = step.noise, str(self.config.get("loss", "non-saturating"))
        x = self._scaled(step.x).requires_grad_()
        real = self._logits(x, step.labels, noise.get("dropout_real"), step)
        fakes = self._fakes(step).detach().view_as(x)
        fake = self._logits(fakes, noise.get("label"), noise.get("dropout_fake"), step)
        one, zero = torch.ones_like(real), torch.zeros_like(fake)
        step.acts[kind] += 1
        match kind:
            case "hinge":
                loss = torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean()
            case "wgan-gp":
                loss = fake.mean() - real.mean()
            case "least-squares":
                loss = (F.mse_loss(real, one) + F.mse_loss(fake, zero)) / 2.0
            case _:
                loss = F.binary_cross_entropy_with_logits(real, one) + F.binary_cross_entropy_with_logits(fake, zero)
        penalty = torch.zeros_like(loss)
        if kind == "wgan-gp":
            share = noise["epsilon"].view(-1, *[1] * (x.dim() - 1))
            between = (share * x.detach() + (1.0 - share) * fakes).requires_grad_()
            logits = self._logits(between, step.labels, noise.get("dropout_real"), step)
            (slope,) = torch.autograd.grad(_of_rows(logits).sum(), between, create_graph=True)
            penalty = self.number("gp", 10.0) * (slope.flatten(1).norm(dim=1) - 1.0).pow(2).mean()
        elif self.number("r1"):
            (slope,) = torch.autograd.grad(_of_rows(real).sum(), x, create_graph=True)
            penalty = self.number("r1") / 2.0 * slope.pow(2).flatten(1).sum(1).mean()
        step.acts["penalized"] += bool(penalty > 0.0)
        total = loss + penalty
        logs = {"loss": total, "real": real.mean(), "fake": fake.mean(), "penalty": penalty}
        return total, {**logs, "sign": self._sign(real.detach(), fake.detach())}

    def _sign(self, real: Tensor, fake: Tensor) -> Tensor:
        """How often reals are taken for reals, less how often not: Karras et al. 2020 (arXiv 2006.06676, eq. 1)."""
        neither = {"least-squares": 0.5, "wgan-gp": float(real.mean() + fake.mean()) / 2.0}
        return (real - neither.get(str(self.config.get("loss")), 0.0)).sign().mean()

    def _generator(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss that does not saturate, minus the logit, or its distance from 1; `spread` is the samples' over the
        data's."""
        fakes, kind = self._fakes(step), self.config.get("loss")
        logits = self._logits(fakes, step.noise.get("label"), step.noise.get("dropout_fake"), step)
        one = torch.ones_like(logits)
        if kind in ("hinge", "wgan-gp"):
            loss = -logits.mean()
        elif kind == "least-squares":
            loss = F.mse_loss(logits, one) / 2.0
        else:
            loss = F.binary_cross_entropy_with_logits(logits, one)
        return loss, {"loss": loss, "spread": _spread(fakes) / self._spread_of_data}

    @functools.cached_property
    def _spread_of_data(self) -> Tensor:
        return _spread(self._scaled(self.data.train.x))


def _of_rows(logits: Tensor) -> Tensor:
    """One number a row: the mean of its logits where it has one at each step."""
    return logits.flatten(1).mean(1) if logits.dim() > 1 else logits


def _spread(rows: Tensor) -> Tensor:
    """The root mean square over the numbers of a row of their standard deviations over rows."""
    return rows.flatten(1).var(0, unbiased=False).mean().sqrt()
