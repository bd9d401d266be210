"""Trainings as textbooks write them: stock modules, `torch.optim` with its own defaults, one model at a time.

Nothing here is shared with our trainer; a test holds that the losses are equal on equal weights. Where there was a
choice it went to the peer: rows lie on the device and are taken by index instead of by a loader, losses are read once
an epoch, the discriminator takes no gradient while the generator moves, and the real rows pass the discriminator once
for loss and penalty.
Axes: B rows, D pixels, L latents.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class VAE(nn.Module):
    """A VAE over grey levels: categorical likelihood, diagonal Gaussian posterior, perceptrons with leaky ReLU."""

    def __init__(self, *, pixels: int, levels: int, latent: int, width: int, depth: int) -> None:
        super().__init__()
        self.pixels, self.levels, self.latent = pixels, levels, latent
        hidden = [width] * depth
        self.encoder = perceptron([pixels, *hidden, 2 * latent], slope=0.01)
        self.decoder = perceptron([latent, *hidden, levels * pixels], slope=0.01)

    def loss(self, x_BD: Tensor, noise_BL: Tensor) -> Tensor:
        """The negative ELBO in nats a row; `x_BD` holds levels, int64."""
        mean, log_variance = self.encoder(x_BD.to(noise_BL.dtype) * (2.0 / (self.levels - 1)) - 1.0).chunk(2, 1)
        log_variance = log_variance.clamp(-10.0, 10.0)
        logits = self.decoder(mean + (0.5 * log_variance).exp() * noise_BL)
        entropy = functional.cross_entropy(logits.view(-1, self.levels, self.pixels), x_BD, reduction="sum") / len(x_BD)
        kl = -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        loss: Tensor = entropy + kl
        return loss


class VAETraining:
    """The VAE under Adam on rows of levels [N, ...]."""

    def __init__(self, model: VAE, rows: Tensor, *, batch_size: int, lr: float, bf16: bool = False) -> None:
        self.model, self.rows, self.batch_size, self.bf16 = model, rows.flatten(1).long(), batch_size, bf16
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def epoch(self) -> int:
        """Train on each row once; returns the steps made."""
        losses = []
        for x in batches(self.rows, self.batch_size):
            noise = torch.randn(len(x), self.model.latent, device=x.device)
            self.optimizer.zero_grad()
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model.loss(x, noise)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return finished(losses)


class GAN(nn.Module):
    """A pair of networks on logits; rows are in [-1, 1]."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, *, latent: int) -> None:
        super().__init__()
        self.generator, self.discriminator, self.latent = generator, discriminator, latent

    @classmethod
    def perceptrons(cls, *, pixels: int, latent: int, width: int, depth: int) -> GAN:
        """Two perceptrons over flat rows."""
        hidden = [width] * depth
        generator = nn.Sequential(perceptron([latent, *hidden, pixels], slope=0.2), nn.Tanh())
        return cls(generator, perceptron([pixels, *hidden, 1], slope=0.2), latent=latent)

    @classmethod
    def convolutions(cls, *, latent: int, width: int) -> GAN:
        """Convolutions for images of 1 x 8 x 8, with the coarsest map of 2 x 2."""
        generator = nn.Sequential(
            nn.Linear(latent, 2 * width * 4),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (2 * width, 2, 2)),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(width, 1, 4, 2, 1),
            nn.Tanh(),
        )
        discriminator = nn.Sequential(
            nn.Conv2d(1, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * 4, 1),
        )
        return cls(generator, discriminator, latent=latent)

    def discriminator_loss(self, x: Tensor, noise_BL: Tensor, *, r1: float) -> Tensor:
        """Cross-entropy on reals and fakes, and the R1 penalty r1/2 |dD/dx|^2 on reals."""
        with torch.no_grad():
            fake = self.generator(noise_BL)
        real = x.clone().requires_grad_()
        real_logits = self.discriminator(real)
        (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
        penalty = 0.5 * r1 * gradient.flatten(1).square().sum(1).mean()
        return functional.softplus(-real_logits).mean() + functional.softplus(self.discriminator(fake)).mean() + penalty

    def generator_loss(self, noise_BL: Tensor) -> Tensor:
        """The loss that does not saturate."""
        return functional.softplus(-self.discriminator(self.generator(noise_BL))).mean()


class GANTraining:
    """The pair under two Adams, with a moving average of the generator, on rows of levels 0..levels-1."""

    def __init__(
        self,
        model: GAN,
        rows: Tensor,
        *,
        levels: int,
        batch_size: int,
        discriminator_lr: float,
        generator_lr: float,
        betas: tuple[float, float],
        r1: float,
        ema: float,
        bf16: bool = False,
    ) -> None:
        self.model, self.batch_size, self.r1, self.bf16 = model, batch_size, r1, bf16
        self.rows = rows.float() * (2.0 / (levels - 1)) - 1.0
        self.discriminator_optimizer = torch.optim.Adam(model.discriminator.parameters(), discriminator_lr, betas)
        self.generator_optimizer = torch.optim.Adam(model.generator.parameters(), generator_lr, betas)
        self.weights: list[Tensor] = list(model.generator.parameters())
        self.averages = [weight.detach().clone() for weight in self.weights]
        self.ema = ema

    def epoch(self) -> int:
        """Train on each row once, both networks at each step; returns the steps made."""
        losses = []
        for x in batches(self.rows, self.batch_size):
            self.discriminator_optimizer.zero_grad()
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model.discriminator_loss(x, self._noise(x), r1=self.r1)
            loss.backward()
            self.discriminator_optimizer.step()
            losses.append(loss.detach())
            self.model.discriminator.requires_grad_(False)
            self.generator_optimizer.zero_grad()
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model.generator_loss(self._noise(x))
            loss.backward()
            self.generator_optimizer.step()
            with torch.no_grad():
                # All tensors by one call; torch's own AveragedModel makes a GPU wait at each step.
                torch._foreach_lerp_(self.averages, self.weights, 1.0 - self.ema)
            self.model.discriminator.requires_grad_(True)
            losses.append(loss.detach())
        return finished(losses) // 2

    def _noise(self, x: Tensor) -> Tensor:
        return torch.randn(len(x), self.model.latent, device=x.device)


class DCGAN(nn.Module):
    """Radford et al. 2016, arXiv 1511.06434, for images of 3 x 64 x 64, with torch's batch normalization."""

    def __init__(self, *, latent: int, width: int) -> None:
        super().__init__()
        self.latent = latent
        channels = [width * 2**place for place in range(4)]
        up: list[nn.Module] = [nn.ConvTranspose2d(latent, channels[-1], 4, 1, 0, bias=False)]
        for inputs, outputs in itertools.pairwise(reversed(channels)):
            up += [nn.BatchNorm2d(inputs), nn.ReLU(True), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
        up += [nn.BatchNorm2d(channels[0]), nn.ReLU(True), nn.ConvTranspose2d(channels[0], 3, 4, 2, 1, bias=False)]
        down: list[nn.Module] = [nn.Conv2d(3, channels[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
        for inputs, outputs in itertools.pairwise(channels):
            down += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, True),
            ]
        self.generator = nn.Sequential(*up, nn.Tanh())
        self.discriminator = nn.Sequential(*down, nn.Conv2d(channels[-1], 1, 4, 1, 0, bias=False), nn.Flatten(0))
        self.apply(_initialize)

    def discriminator_loss(self, x: Tensor, noise_BL: Tensor) -> Tensor:
        """Cross-entropy on reals and fakes, each batch normalized by itself."""
        with torch.no_grad():
            fake = self.generator(noise_BL[:, :, None, None])
        real_logits, fake_logits = self.discriminator(x), self.discriminator(fake)
        entropy = functional.binary_cross_entropy_with_logits
        return entropy(real_logits, torch.ones_like(real_logits)) + entropy(fake_logits, torch.zeros_like(fake_logits))

    def generator_loss(self, noise_BL: Tensor) -> Tensor:
        """Cross-entropy of fakes under the label of reals."""
        logits = self.discriminator(self.generator(noise_BL[:, :, None, None]))
        return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


class DCGANTraining:
    """The DCGAN under two Adams, with fakes of its own for each player, as in Goodfellow et al. 2014, algorithm 1.

    torch's example hands the discriminator's fakes on to the generator and so saves one of its forward passes; that is
    another training than ours, so both draw anew here.
    """

    def __init__(
        self, model: DCGAN, rows: Tensor, *, batch_size: int, lr: float, betas: tuple[float, float], bf16: bool = False
    ) -> None:
        self.model, self.rows, self.batch_size, self.bf16 = model, rows, batch_size, bf16
        self.discriminator_optimizer = torch.optim.Adam(model.discriminator.parameters(), lr, betas)
        self.generator_optimizer = torch.optim.Adam(model.generator.parameters(), lr, betas)

    def epoch(self) -> int:
        """Train on each row once, both networks at each step; returns the steps made."""
        losses = []
        for levels in batches(self.rows, self.batch_size):
            x = levels.float() * (2.0 / 255.0) - 1.0
            self.discriminator_optimizer.zero_grad()
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model.discriminator_loss(x, self._noise(x))
            loss.backward()
            self.discriminator_optimizer.step()
            losses.append(loss.detach())
            self.model.discriminator.requires_grad_(False)
            self.generator_optimizer.zero_grad()
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model.generator_loss(self._noise(x))
            loss.backward()
            self.generator_optimizer.step()
            self.model.discriminator.requires_grad_(True)
            losses.append(loss.detach())
        return finished(losses) // 2

    def _noise(self, x: Tensor) -> Tensor:
        return torch.randn(len(x), self.model.latent, device=x.device)


def perceptron(sizes: Sequence[int], *, slope: float) -> nn.Sequential:
    """Linear layers with leaky ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def batches(rows: Tensor, size: int) -> Iterator[Tensor]:
    """The rows in random order, in whole batches; a rest is left out."""
    order = torch.randperm(len(rows), device=rows.device)
    for begin in range(0, len(rows) - size + 1, size):
        yield rows[order[begin : begin + size]]


def finished(losses: Sequence[Tensor]) -> int:
    """How many losses there are; raises `FloatingPointError` where their mean is not finite."""
    mean = torch.stack(list(losses)).mean().item()
    if mean != mean or abs(mean) == float("inf"):
        raise FloatingPointError(f"the mean loss of an epoch must be finite, and it is {mean}: lower the learning rate")
    return len(losses)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
