"""Magnitude-preserving layers: unit-variance signals stay of unit variance, whatever the weights' magnitudes.

Equation numbers are those of *Analyzing and Improving the Training Dynamics of Diffusion Models* (EDM2), Karras et al.
2024, arXiv 2312.02696. ``network.py`` makes the U-Net of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RESIDUAL = 0.3  # share of a residual branch, convolutions or attention, in the sum with its input
KEPT, ADDED = ((1 - RESIDUAL) / math.hypot(1 - RESIDUAL, RESIDUAL), RESIDUAL / math.hypot(1 - RESIDUAL, RESIDUAL))
SILU = 0.596  # standard deviation of SiLU of a standard normal


def normalize(x: Tensor, dim: int | tuple[int, ...] | None = None, eps: float = 1e-4) -> Tensor:
    """Scale ``x`` to unit mean square over ``dim`` (all but the first by default); equation 56 with epsilon."""
    if dim is None:
        dim = tuple(range(1, x.ndim))
    precision = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=precision)
    scale = math.sqrt(norm.numel() / x.numel())
    return x / torch.add(eps, norm, alpha=scale).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """SiLU divided by its standard deviation on a standard normal input (equation 81)."""
    return F.silu(x) / SILU


def mp_sum(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Blend of two unit-variance signals with unit variance (equation 88); ``t`` a number or a tensor of one."""
    blend, norm = torch.lerp(a, b, t), ((1 - t) ** 2 + t**2) ** 0.5
    return blend / norm if torch.is_grad_enabled() else blend.div_(norm)


def mp_cat(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    """Concatenation along the channels in which each input weighs as ``1 - t`` to ``t`` (equation 103)."""
    n_a, n_b = a.shape[1], b.shape[1]
    scale = math.sqrt((n_a + n_b) / ((1 - t) ** 2 + t**2))
    weights = scale / math.sqrt(n_a) * (1 - t), scale / math.sqrt(n_b) * t
    # Equal halves weigh exactly 1 each: a copy of two large tensors less.
    return torch.cat([x if w == 1 else x * w for x, w in zip((a, b), weights, strict=True)], dim=1)


def pixel_norm(x: Tensor) -> Tensor:
    """Unit mean square over the channels of each pixel (EDM2 equation 30, as in StyleGAN)."""
    return normalize(x, dim=1)


def modulated_silu(x: Tensor, scale: Tensor) -> Tensor:
    """SiLU of ``x`` ``[B, C, H, W]`` after scaling its channels by ``scale`` ``[B, C]``; overwrites x in inference."""
    scale = scale[:, :, None, None].to(x.dtype)
    return F.silu(x * scale) if torch.is_grad_enabled() else F.silu(x.mul_(scale), inplace=True)


def residual_sum(x: Tensor, y: Tensor) -> Tensor:
    """``KEPT x + y`` for a branch ``y`` that carries its weight ``ADDED`` already; overwrites y in inference."""
    return torch.add(y, x, alpha=KEPT) if torch.is_grad_enabled() else y.add_(x, alpha=KEPT)


class MPFourier(nn.Module):
    """Random Fourier features of the noise level, of unit variance (equation 75)."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(channels))
        self.register_buffer("phases", 2 * math.pi * torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        angle = x[:, None] * self.frequencies + self.phases
        return angle.cos() * math.sqrt(2)


class MPConv(nn.Module):
    """Convolution (or linear layer, ``kernel=()``) with normalised weights (equations 47 and 66).

    The weight of each output channel is normalised at every call while training, which projects the gradient;
    the optimiser loop also normalises the stored weight after each step (:func:`normalize_weights`). For inference
    :func:`fold` normalises once and the call uses the weight as it is. ``scale`` multiplies the normalised weight: a
    constant factor of the layer's input or output, which costs nothing there and a pass over a large tensor elsewhere.
    Linear layers, those of the embeddings and the log-variance, keep their input's precision under autocast, as EDM2's.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, ...] = (), scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))
        self.folded = False

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        weight = self.weight
        if not self.folded:
            weight = normalize(weight) * (gain * (self.scale / math.sqrt(weight[0].numel())))
        elif not (isinstance(gain, float) and gain == 1.0):
            weight = weight * gain
        weight = weight.to(x.dtype)
        if weight.ndim == 2:
            with torch.autocast(x.device.type, enabled=False):
                return x @ weight.t()
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def orthogonalize(x: Tensor) -> Tensor:
    """The orthogonal polar factor of ``[m, n]``: orthonormal rows, or columns where there are more rows.

    By Newton-Schulz iterations ``x <- (3 x - x x' x) / 2``, which double the digits that are right; it needs singular
    values that differ by less than the factor of 1.7 from their root mean square, as those of weights do that an
    optimiser's step or an average took a little away from orthogonality.
    """
    x = x * (math.sqrt(min(x.shape)) / torch.linalg.vector_norm(x))
    for _ in range(6):
        x = 1.5 * x - 0.5 * (x @ (x.t() @ x) if len(x) > x.shape[1] else (x @ x.t()) @ x)
    return x


class MPOrthogonal(nn.Module):
    """Orthogonal linear map of the channels of an image, scaled to keep unit variance where it adds channels.

    The stored weight has unit mean square, as an :class:`MPConv`'s, and like it is made orthogonal at every call while
    training, after every step (:func:`normalize_weights`) and, for inference, once (:func:`fold`).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.scale = math.sqrt(max(in_channels, out_channels))
        self.gain = math.sqrt(max(1.0, out_channels / in_channels))
        self.weight = nn.Parameter(self.scale * nn.init.orthogonal_(torch.empty(out_channels, in_channels)))
        self.folded = False

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if not self.folded:
            with torch.autocast(x.device.type, enabled=False):  # half precision's digits would not do
                weight = self.gain * orthogonalize(weight)
        return F.conv2d(x, weight[:, :, None, None].to(x.dtype))


class MPMix(nn.Module):
    """Learnable blends of ``count`` pairs of unit-variance signals: :func:`mp_sum` with weights in [0, 1].

    At a ``start`` of 0 the second signals are ignored but the weights have a gradient.
    """

    def __init__(self, count: int, start: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((count,), start))

    def forward(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
        weights = self.weight.clip(0, 1).to(a[0].dtype).unbind()
        return [mp_sum(*pair, t) for *pair, t in zip(a, b, weights, strict=True)]


@torch.no_grad()
def normalize_weights(network: nn.Module) -> None:
    """Forced weight normalisation (equation 66), orthogonality, mixing in [0, 1]: call after every optimiser step."""
    for module in network.modules():
        if isinstance(module, MPConv):
            module.weight.copy_(normalize(module.weight))
        elif isinstance(module, MPOrthogonal):
            module.weight.copy_(module.scale * orthogonalize(module.weight))
        elif isinstance(module, MPMix):
            module.weight.clip_(0, 1)


@torch.no_grad()
def fold(network: nn.Module) -> None:
    """Normalise and scale every weight once, in place, for inference. A folded network cannot be trained."""
    for module in network.modules():
        if isinstance(module, MPConv) and not module.folded:
            module.weight.copy_(normalize(module.weight) * (module.scale / math.sqrt(module.weight[0].numel())))
            module.folded = True
        elif isinstance(module, MPOrthogonal) and not module.folded:
            module.weight.copy_(module.gain * orthogonalize(module.weight))
            module.folded = True
