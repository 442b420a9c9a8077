"""The magnitude-preserving U-Net of EDM2 (Karras et al. 2024, config G), on an optional Haar stem.

Its layers are in ``layers.py``. Equation numbers are those of *Analyzing and Improving the Training Dynamics of
Diffusion Models*, arXiv 2312.02696.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import MPConv, MPFourier, modulated_silu, mp_cat, mp_silu, normalize, pixel_norm, residual_sum

ENCODER, DECODER = "encoder", "decoder"


def haar(x: Tensor) -> Tensor:
    """Orthonormal 2x2 Haar transform: ``[B, C, H, W]`` to ``[B, 4 C, H/2, W/2]``. White noise stays white."""
    blocks = F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4))
    a, b, c, d = blocks.unbind(2)
    bands = torch.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=2)
    return bands.flatten(1, 2) / 2


def inverse_haar(x: Tensor) -> Tensor:
    """Inverse (and transpose) of :func:`haar`; the 4x4 matrix is symmetric and its own inverse."""
    a, b, c, d = x.unflatten(1, (-1, 4)).unbind(2)
    pixels = torch.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=2)
    return F.pixel_shuffle(pixels.flatten(1, 2) / 2, 2)


class Block(nn.Module):
    """One residual block of the encoder or decoder (EDM2 figure 21), with optional 2x resampling before it."""

    def __init__(
        self, in_channels: int, out_channels: int, emb_channels: int, flavor: str, resample: str, dropout: float
    ):
        super().__init__()
        self.flavor, self.resample, self.dropout = flavor, resample, dropout
        first = out_channels if flavor == ENCODER else in_channels
        self.emb_gain = nn.Parameter(torch.zeros(()))
        self.emb_linear = MPConv(emb_channels, out_channels)
        self.conv_res0 = MPConv(first, out_channels, (3, 3))
        self.conv_res1 = MPConv(out_channels, out_channels, (3, 3))
        self.conv_skip = MPConv(in_channels, out_channels, (1, 1)) if in_channels != out_channels else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if self.flavor == ENCODER:
            if self.conv_skip is not None:
                x = self.conv_skip(x)
            x = pixel_norm(x)
        y = self.conv_res0(mp_silu(x))
        scale = self.emb_linear(emb, gain=self.emb_gain) + 1
        y = modulated_silu(y, scale)
        if self.dropout and self.training:
            y = F.dropout(y, self.dropout)
        y = self.conv_res1(y)
        if self.flavor == DECODER and self.conv_skip is not None:
            x = self.conv_skip(x)
        return residual_sum(x, y)


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a :class:`UNet`.

    ``widths`` and ``blocks`` hold one entry a resolution level, finest first; ``haar`` is the number of Haar levels
    before the first; ``conditional`` adds a second noisy image and its level to the inputs.
    """

    image_channels: int = 3
    widths: tuple[int, ...] = (64, 128, 192, 192)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    haar: int = 1
    conditional: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ValueError(f"widths {self.widths} and blocks {self.blocks} must have one entry a level")
        if min(self.widths) < 1 or min(self.blocks) < 1 or self.haar < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"network configuration out of range: {self}")


class Encoder(nn.Module):
    """The U-Net's input half: noise embedding and downsampling path. Returns features at every block.

    The conditional variant (DESIGN section 5) takes a second image with its own noise level. Its channels are
    appended to the input with zero weights and its embedding is added through a zero gain, so that a conditional
    network made from an unconditional one starts as exactly that function.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.emb_channels = max(config.widths)
        inputs = config.image_channels * 4**config.haar * (2 if config.conditional else 1)
        self.emb_fourier = MPFourier(config.widths[0])
        self.emb_noise = MPConv(config.widths[0], self.emb_channels)
        if config.conditional:
            self.cond_fourier = MPFourier(config.widths[0])
            self.cond_noise = MPConv(config.widths[0], self.emb_channels)
            self.cond_gain = nn.Parameter(torch.zeros(()))
        self.conv_in = MPConv(inputs + 1, config.widths[0], (3, 3))
        self.blocks = nn.ModuleList()
        self.skip_channels = [config.widths[0]]
        channels = config.widths[0]
        for level, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            if level:
                self._add(Block(channels, channels, self.emb_channels, ENCODER, "down", config.dropout), channels)
            for _ in range(count):
                self._add(Block(channels, width, self.emb_channels, ENCODER, "", config.dropout), width)
                channels = width

    def _add(self, block: Block, channels: int) -> None:
        self.blocks.append(block)
        self.skip_channels.append(channels)

    def embed(self, c_noise: Tensor, c_noise_condition: Tensor | None) -> Tensor:
        emb = self.emb_noise(self.emb_fourier(c_noise))
        if self.config.conditional:
            emb = emb + self.cond_noise(self.cond_fourier(c_noise_condition), gain=self.cond_gain)
        return mp_silu(emb)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor | None, c_noise_condition: Tensor | None):
        emb = self.embed(c_noise, c_noise_condition)
        for _ in range(self.config.haar):
            x = haar(x)
            condition = None if condition is None else haar(condition)
        inputs = [x, torch.ones_like(x[:, :1])]
        if self.config.conditional:
            inputs.append(condition)
        x = self.conv_in(torch.cat(inputs, dim=1))
        features = [x]
        for block in self.blocks:
            x = block(x, emb)
            features.append(x)
        return features, emb


class UNet(nn.Module):
    """``F(c_in u, c_noise)``: raw network between the preconditioning of a denoiser (see ``prior.py``).

    ``forward(x [B, C, H, W], c_noise [B], condition [B, C, H, W] or None, c_noise_condition [B] or None)`` returns
    ``[B, C, H, W]``. H and W must be multiples of :attr:`multiple`. :meth:`log_variance` is the uncertainty
    head of EDM2 (equation 15), used in training only.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        emb_channels = self.encoder.emb_channels
        skips = list(self.encoder.skip_channels)
        channels = config.widths[-1]
        self.decoder = nn.ModuleList()
        self.takes_skip: list[bool] = []
        for level in reversed(range(len(config.widths))):
            width = config.widths[level]
            if level == len(config.widths) - 1:
                self._add(Block(channels, channels, emb_channels, DECODER, "", config.dropout), False)
                self._add(Block(channels, channels, emb_channels, DECODER, "", config.dropout), False)
            else:
                self._add(Block(channels, width, emb_channels, DECODER, "up", config.dropout), False)
                channels = width
            for _ in range(config.blocks[level] + 1):
                self._add(Block(channels + skips.pop(), width, emb_channels, DECODER, "", config.dropout), True)
                channels = width
        self.conv_out = MPConv(channels, config.image_channels * 4**config.haar, (3, 3))
        self.gain_out = nn.Parameter(torch.zeros(()))
        levels = 2 if config.conditional else 1
        self.logvar_fourier = MPFourier(128)
        self.logvar_linear = MPConv(128 * levels, 1)

    def _add(self, block: Block, takes_skip: bool) -> None:
        self.decoder.append(block)
        self.takes_skip.append(takes_skip)

    @property
    def multiple(self) -> int:
        """Height and width of an input must be multiples of this number of pixels."""
        return 2 ** (self.config.haar + len(self.config.widths) - 1)

    def forward(
        self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None, c_noise_condition: Tensor | None = None
    ) -> Tensor:
        features, emb = self.encoder(x, c_noise, condition, c_noise_condition)
        x = features[-1]
        for block, takes_skip in zip(self.decoder, self.takes_skip, strict=True):
            x = block(mp_cat(x, features.pop()) if takes_skip else x, emb)
        x = self.conv_out(x, gain=self.gain_out)
        for _ in range(self.config.haar):
            x = inverse_haar(x)
        return x

    def log_variance(self, c_noise: Tensor, c_noise_condition: Tensor | None = None) -> Tensor:
        """Learned log-variance of the denoising error per noise level, ``[B]`` to ``[B]`` (equation 15)."""
        features = self.logvar_fourier(c_noise)
        if self.config.conditional:
            features = torch.cat([features, self.logvar_fourier(c_noise_condition)], dim=1)
        return self.logvar_linear(features)[:, 0]


@torch.no_grad()
def conditional_from(network: UNet) -> UNet:
    """A conditional copy of an unconditional, unfolded network, computing exactly the same function at the start.

    The added input channels have zero weights, the added embedding a zero gain, and the log-variance head ignores the
    added level; MEASURED-NOTES shows that starting anywhere else makes a short distillation fail.
    """
    config = UNetConfig(**{**network.config.__dict__, "conditional": True})
    parameter = next(network.parameters())
    copy = UNet(config).to(parameter.device, parameter.dtype)
    state = copy.state_dict()
    for name, value in network.state_dict().items():
        if state[name].shape == value.shape:
            state[name].copy_(value)
        else:
            extended = torch.zeros_like(state[name])
            extended[:, : value.shape[1]] = normalize(value) * math.sqrt(extended[0].numel() / value[0].numel())
            state[name].copy_(extended)
    copy.load_state_dict(state)
    return copy
