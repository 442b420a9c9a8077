"""The magnitude-preserving U-Net of EDM2 (Karras et al. 2024, config G), on an optional Haar stem.

Its layers are in ``layers.py``, its residual blocks in ``blocks.py``. Equation numbers are those of *Analyzing and
Improving the Training Dynamics of Diffusion Models*, arXiv 2312.02696.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .auxt import Shortcut
from .blocks import DECODER, ENCODER, Block
from .haar import haar, inverse_haar
from .layers import MPConv, MPFourier, MPMix, mp_cat, mp_silu, mp_sum, normalize

CONDITIONINGS = ("none", "inputs", "encoder")


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a :class:`UNet`.

    ``widths`` and ``blocks`` hold one entry a resolution level, finest first; ``haar`` is the number of Haar levels
    before the first. ``attention`` lists the levels (0 the finest) whose blocks have self-attention in heads of
    ``head_channels``, except for those that resample; the decoder's very first block has it where any level has, or
    with ``bottom_attention``. ``labels`` is the number of classes, 0 for none. ``conditioning`` adds a second noisy
    image and its level: as further ``"inputs"``, or in an ``"encoder"`` of its own (see :class:`UNet`). ``auxt`` adds
    linear shortcuts beside the blocks that resample (see ``auxt.py``).

    EDM2's networks are ``haar=0, wide_up=True``, four levels of widths 1, 2, 3 and 4 times a base, three blocks each:
    for 64x64 pixels (or latents) ``attention=(2, 3)``, its 16x16 and 8x8 levels. At 256x256 pixels the levels are 256
    to 32, none of which is 16 or 8: the published FFHQ-256 networks are ``bottom_attention=True`` alone.
    ``wide_up`` keeps the coarser level's width in the blocks that upsample, as EDM2 does.
    """

    image_channels: int = 3
    widths: tuple[int, ...] = (64, 128, 192, 192)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    haar: int = 1
    conditioning: str = "none"
    dropout: float = 0.0
    attention: tuple[int, ...] = ()
    bottom_attention: bool = False
    wide_up: bool = False
    head_channels: int = 64
    labels: int = 0
    auxt: bool = False

    def __post_init__(self):
        for name in ("widths", "blocks", "attention"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ValueError(f"widths {self.widths} and blocks {self.blocks} must have one entry a level")
        if min(self.widths) < 1 or min(self.blocks) < 1 or self.haar < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"network configuration out of range: {self}")
        if self.labels < 0 or self.head_channels < 1:
            raise ValueError(f"network configuration out of range: {self}")
        if not set(self.attention) <= set(range(len(self.widths))):
            raise ValueError(f"attention is {self.attention} but must list levels of 0 to {len(self.widths) - 1}")
        if self.conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning is {self.conditioning!r} but must be one of {', '.join(CONDITIONINGS)}")
        attentive = {*self.attention, *([len(self.widths) - 1] if self.has_bottom_attention else [])}
        for width in (self.widths[level] for level in attentive):
            if width % self.head_channels:
                raise ValueError(
                    f"width {width} of a level with attention is no multiple of head_channels, {self.head_channels}"
                )

    @property
    def conditional(self) -> bool:
        return self.conditioning != "none"

    @property
    def has_bottom_attention(self) -> bool:
        return self.bottom_attention or bool(self.attention)

    def heads_at(self, level: int) -> int:
        """``head_channels`` where the blocks of a level have attention, else 0."""
        return self.head_channels if level in self.attention else 0


class Embedding(nn.Module):
    """Embedding ``[B, max(widths)]`` of the noise level and, with ``labels``, of the class."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.emb_channels = max(config.widths)
        self.emb_fourier = MPFourier(config.widths[0])
        self.emb_noise = MPConv(config.widths[0], self.emb_channels)
        self.emb_label = MPConv(config.labels, self.emb_channels) if config.labels else None

    def embed(self, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        """``labels``: classes ``[B]`` as integers, or ``[B, n]`` one-hot (a row of zeros, or None: no class)."""
        emb = self.emb_noise(self.emb_fourier(c_noise))
        if self.emb_label is None:
            return emb
        if labels is None:
            labels = emb.new_zeros(len(emb), self.config.labels)
        elif labels.ndim == 1:
            labels = F.one_hot(labels, self.config.labels)
        return mp_sum(emb, self.emb_label(labels.to(emb.dtype) * math.sqrt(self.config.labels)), t=0.5)


class Encoder(Embedding):
    """The U-Net's input half: noise embedding and downsampling path. Returns features at every block.

    With ``conditioning: inputs`` it takes a second image with its own noise level. Its channels are appended to the
    input with zero weights and its embedding is added through a zero gain, so that a conditional network made from an
    unconditional one starts as exactly that function.
    """

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        self.two_inputs = config.conditioning == "inputs"
        if self.two_inputs:
            self.cond_fourier = MPFourier(config.widths[0])
            self.cond_noise = MPConv(config.widths[0], self.emb_channels)
            self.cond_gain = nn.Parameter(torch.zeros(()))
        inputs = config.image_channels * 4**config.haar * (2 if self.two_inputs else 1)
        self.conv_in = MPConv(inputs + 1, config.widths[0], (3, 3))
        self.blocks, self.shortcuts = nn.ModuleList(), nn.ModuleList()
        self.skip_channels = [config.widths[0]]
        channels, linear_channels = config.widths[0], config.image_channels * 4**config.haar
        for level, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            if level:
                self._add(channels, channels, "down", 0)
                if config.auxt:
                    self.shortcuts.append(Shortcut(linear_channels, channels, down=True))
                    linear_channels = channels
            for _ in range(count):
                self._add(channels, width, "", config.heads_at(level))
                channels = width

    def _add(self, in_channels: int, channels: int, resample: str, head_channels: int) -> None:
        dropout = self.config.dropout
        self.blocks.append(Block(in_channels, channels, self.emb_channels, ENCODER, resample, dropout, head_channels))
        self.skip_channels.append(channels)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        condition: Tensor | None = None,
        c_noise_condition: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        emb = self.embed(c_noise, labels)
        if self.two_inputs:
            emb = emb + self.cond_noise(self.cond_fourier(c_noise_condition), gain=self.cond_gain)
        emb = mp_silu(emb)
        images = [x, condition] if self.two_inputs else [x]
        for _ in range(self.config.haar):
            images = [haar(image) for image in images]
        x = self.conv_in(torch.cat([images[0], torch.ones_like(images[0][:, :1]), *images[1:]], dim=1))
        features, linear, shortcuts = [x], images[0], list(self.shortcuts)
        for block in self.blocks:
            x = block(x, emb)
            if block.resample and shortcuts:
                x, linear = shortcuts.pop(0)(x, linear)
            features.append(x)
        return features, emb


class UNet(nn.Module):
    """``F(c_in u, c_noise)``: raw network between the preconditioning of a denoiser (see ``prior.py``).

    ``forward(x [B, C, H, W], c_noise [B], condition [B, C, H, W] or None, c_noise_condition [B] or None, labels)``
    returns ``[B, C, H, W]``; ``labels`` are those of :meth:`Embedding.embed`. H and W must be multiples of
    :attr:`multiple`. :meth:`log_variance` is the uncertainty head of EDM2 (equation 15), used in training only.

    ``conditioning: encoder`` is the published NCVSD network. ``encoder`` takes ``x`` (the generator's over-noised copy
    of u, or x_t) and ``control``, a second encoder of the same shape, the condition (u), each with its own embedding of
    its own level. What enters the decoder is blended with the control's counterpart (``mix_input``, one weight), and so
    is every skip (``mix_skips``, a weight each, in the order of the encoder's features). The decoder has a third
    embedding, of the level of ``x`` (``embedding``). Weights at 0 make it the unconditional network. The uncertainty
    head sees the level of ``x`` alone.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.control = None
        if config.conditioning == "encoder":
            self.control, self.embedding = Encoder(config), Embedding(config)
            self.mix_input, self.mix_skips = MPMix(1), MPMix(len(self.encoder.skip_channels))
        skips = list(self.encoder.skip_channels)
        channels = linear_channels = config.widths[-1]
        self.decoder, self.shortcuts = nn.ModuleList(), nn.ModuleList()
        self.takes_skip: list[bool] = []
        for level in reversed(range(len(config.widths))):
            width = config.widths[level]
            if level == len(config.widths) - 1:
                self._add(channels, channels, "", config.head_channels if config.has_bottom_attention else 0)
                self._add(channels, channels, "", 0)
            else:
                channels, coarser = channels if config.wide_up else width, channels
                self._add(coarser, channels, "up", 0)
                if config.auxt:
                    self.shortcuts.append(Shortcut(linear_channels, channels, down=False))
                    linear_channels = channels
            for _ in range(config.blocks[level] + 1):
                self._add(channels + skips.pop(), width, "", config.heads_at(level), takes_skip=True)
                channels = width
        self.conv_out = MPConv(channels, config.image_channels * 4**config.haar, (3, 3))
        self.gain_out = nn.Parameter(torch.zeros(()))
        levels = 2 if config.conditioning == "inputs" else 1
        self.logvar_fourier = MPFourier(128)
        self.logvar_linear = MPConv(128 * levels, 1)

    def _add(
        self, in_channels: int, channels: int, resample: str, head_channels: int, takes_skip: bool = False
    ) -> None:
        emb, dropout = self.encoder.emb_channels, self.config.dropout
        self.decoder.append(Block(in_channels, channels, emb, DECODER, resample, dropout, head_channels))
        self.takes_skip.append(takes_skip)

    @property
    def multiple(self) -> int:
        """Height and width of an input must be multiples of this number of pixels."""
        return 2 ** (self.config.haar + len(self.config.widths) - 1)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        condition: Tensor | None = None,
        c_noise_condition: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        features, emb = self.encoder(x, c_noise, condition, c_noise_condition, labels)
        x = features[-1]
        if self.control is not None:
            control, _ = self.control(condition, c_noise_condition, labels=labels)
            (x,) = self.mix_input(features[-1:], control[-1:])
            features = self.mix_skips(features, control)
            emb = mp_silu(self.embedding.embed(c_noise, labels))
        linear, shortcuts = x, list(self.shortcuts)
        for block, takes_skip in zip(self.decoder, self.takes_skip, strict=True):
            x = block(mp_cat(x, features.pop()) if takes_skip else x, emb)
            if block.resample and shortcuts:
                x, linear = shortcuts.pop(0)(x, linear)
        x = self.conv_out(x, gain=self.gain_out)
        for _ in range(self.config.haar):
            x = inverse_haar(x)
        return x

    def log_variance(self, c_noise: Tensor, c_noise_condition: Tensor | None = None) -> Tensor:
        """Learned log-variance of the denoising error per noise level, ``[B]`` to ``[B]`` (equation 15)."""
        features = self.logvar_fourier(c_noise)
        if self.config.conditioning == "inputs":
            features = torch.cat([features, self.logvar_fourier(c_noise_condition)], dim=1)
        return self.logvar_linear(features)[:, 0]


@torch.no_grad()
def conditional_from(network: UNet, conditioning: str = "inputs") -> UNet:
    """A conditional copy of an unconditional, unfolded network, computing exactly the same function at the start.

    ``inputs``: the added input channels have zero weights, the added embedding a zero gain, and the log-variance head
    ignores the added level. ``encoder``: the control encoder and the decoder's embedding are copies, the mixing weights
    are 0. A short distillation that starts anywhere else fails.
    """
    parameter = next(network.parameters())
    copy = UNet(replace(network.config, conditioning=conditioning)).to(parameter.device, parameter.dtype)
    state = copy.state_dict()
    for name, value in network.state_dict().items():
        for target in _copies(name, conditioning):
            if state[target].shape == value.shape:
                state[target].copy_(value)
            else:
                extended = torch.zeros_like(state[target])
                extended[:, : value.shape[1]] = normalize(value) * math.sqrt(extended[0].numel() / value[0].numel())
                state[target].copy_(extended)
    copy.load_state_dict(state)
    return copy


def _copies(name: str, conditioning: str) -> list[str]:
    """What a conditional copy calls the places of an unconditional network's tensor."""
    half, _, rest = name.partition(".")
    if conditioning != "encoder" or half != "encoder":
        return [name]
    return [name, f"control.{rest}", *([f"embedding.{rest}"] if rest.startswith("emb_") else [])]
