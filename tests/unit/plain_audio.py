"""The references of audio: `plain.py` with 1-D convolutions or spectrograms, `plain_rgan.py` on frames, with a tanh.

WaveGAN: Donahue et al. 2019 (kernels of 25, strides of 4, and phase shuffle, section 3.3). Of the models' code only
initial weights and draws are used.
"""

import torch
from plain import Plain, Step, _spread
from plain_rgan import PlainRecurrent
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class PlainWaves(Plain):
    """One training of a GAN of waves."""

    def _fakes(self, step: Step) -> Tensor:
        weights, z = self._all(), self._labeled(step.noise["latent"], step.noise.get("label"))
        x = F.linear(z, weights["generator.first.weight"], weights["generator.first.bias"])
        x = x.reshape(len(x), weights["generator.blocks.0.weight"].shape[0], -1)
        for block in range(sum(key.startswith("generator.blocks.") for key in weights) // 2):
            weight, bias = (weights[f"generator.blocks.{block}.{kind}"] for kind in ("weight", "bias"))
            x = F.conv_transpose1d(F.leaky_relu(x, 0.2), weight, bias, stride=4, padding=11, output_padding=1)
        return x.tanh()

    def _logits(self, x: Tensor, labels: Tensor | None, uniform: Tensor | None, step: Step) -> Tensor:
        weights, taken = self._all(), 0
        blocks = sum(key.startswith("discriminator.blocks.") for key in weights) // 2
        # What is left of a row's uniform numbers behind those of dropout.
        moves = None if uniform is None else uniform[:, uniform.shape[1] - blocks + 1 :]
        x = self._labeled(x, labels)
        for block in range(blocks):
            front = f"discriminator.blocks.{block}"
            x = F.leaky_relu(F.conv1d(x, self._weight(front), weights[f"{front}.bias"], stride=4, padding=11), 0.2)
            if uniform is not None and self.number("dropout"):
                x = self._dropped(x, uniform[:, taken : taken + x.shape[1]], step)
                taken += x.shape[1]
            if moves is not None and self.number("phase_shuffle") and block < blocks - 1:
                x = self._shuffled(x, moves[:, block], step)
        return F.linear(x.flatten(1), self._weight("discriminator.last"), weights["discriminator.last.bias"])[:, 0]

    def _shuffled(self, x: Tensor, draws: Tensor, step: Step) -> Tensor:
        """Each row moved by -n..n places, what comes in at the edge being the row mirrored there."""
        most, rows = int(self.number("phase_shuffle")), []
        for row, draw in zip(x, draws.tolist(), strict=True):
            by = int(draw * (2 * most + 1)) - most
            step.acts["shuffled"] += by != 0
            padded = F.pad(row[None], (most, most), mode="reflect")[0]
            rows.append(padded[:, most - by : most - by + row.shape[1]])
        return torch.stack(rows)


class PlainSpectrograms(PlainWaves):
    """One training of a GAN of waves whose discriminator hears spectrograms, here by torch's own transform.

    A penalty is on slopes by the spectrogram.
    """

    def _scaled(self, x: Tensor) -> Tensor:
        return _spectrogram(super()._scaled(x))

    def _fakes(self, step: Step) -> Tensor:
        return _spectrogram(super()._fakes(step))

    def _generator(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        loss, logs = super()._generator(step)
        of_data = _spread(PlainWaves._scaled(self, self.data.train.x))
        return loss, {**logs, "spread": _spread(PlainWaves._fakes(self, step)) / of_data}

    def _logits(self, x: Tensor, labels: Tensor | None, uniform: Tensor | None, step: Step) -> Tensor:
        weights, taken = self._all(), 0
        for block in range(3):
            front = f"discriminator.blocks.{block}"
            x = F.leaky_relu(F.conv2d(x, self._weight(front), weights[f"{front}.bias"], stride=2, padding=1), 0.2)
            if uniform is not None:
                x = self._dropped(x, uniform[:, taken : taken + x.shape[1]], step)
                taken += x.shape[1]
        out = F.linear(x.flatten(1), self._weight("discriminator.last"), weights["discriminator.last.bias"])
        # Miyato and Koyama 2018 (arXiv 1802.05637), eq. 3: the class's own direction, and one that all have.
        return out[:, 0] if labels is None else out[:, 0] + out.gather(1, 1 + labels[:, None])[:, 0]


def _spectrogram(x: Tensor) -> Tensor:
    ends = F.pad(x, (192, 192), mode="reflect").flatten(0, 1)
    window = torch.hann_window(512, dtype=x.dtype)
    spectrum = torch.stft(ends, 512, 128, window=window, center=False, return_complex=True)[:, :-1]
    return 0.2 * (spectrum.abs().square() + 1e-3).log().mT.unflatten(0, x.shape[:2])


class PlainFrames(PlainRecurrent):
    """One training of an RGAN on audio; `frame` samples are a step."""

    def _fakes(self, step: Step) -> Tensor:
        steps = super()._fakes(step).tanh()
        channels = self.data.shape[0]
        return torch.stack([part.flatten(1) for part in steps.chunk(channels, 2)], 1)

    def _logits(self, x: Tensor, labels: Tensor | None, uniform: Tensor | None, step: Step) -> Tensor:
        frames = x.split(int(self.config["frame"]), 2)
        return super()._logits(torch.stack([frame.flatten(1) for frame in frames], 1), labels, uniform, step)
