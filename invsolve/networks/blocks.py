"""The residual block of the U-Net with its optional self-attention (EDM2 figure 21)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import ADDED, SILU, MPConv, modulated_silu, normalize, pixel_norm, residual_sum

ENCODER, DECODER = "encoder", "decoder"


class Attention(nn.Module):
    """Cosine self-attention over all pixels, in heads of ``head_channels``: the branch, not its sum with the input.

    Queries, keys and values have unit mean square over a head's channels (EDM2 section B.3), so that the softmax sees
    ``sqrt(head_channels)`` times their cosine. The output channels of ``conv_qkv`` are those of (head, channel of the
    head, query/key/value), the last running fastest.
    """

    def __init__(self, channels: int, head_channels: int):
        super().__init__()
        self.heads = channels // head_channels
        self.conv_qkv = MPConv(channels, 3 * channels, (1, 1))
        self.conv_out = MPConv(channels, channels, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        qkv = self.conv_qkv(x).unflatten(1, (self.heads, -1, 3)).flatten(4)  # [B, heads, C/heads, 3, H W]
        qkv = normalize(qkv.permute(3, 0, 1, 4, 2).contiguous(), dim=-1)  # [3, B, heads, H W, C/heads]
        y = F.scaled_dot_product_attention(*qkv.unbind(0))
        y = y.transpose(1, 2).reshape(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
        return self.conv_out(y)


class Block(nn.Module):
    """One residual block of the encoder or decoder, with optional 2x resampling before it and attention after it.

    ``head_channels`` is the number of channels an attention head, 0 for no attention. The constants of equations 81
    (SiLU) and 88 (the sum) are in the weights that follow and precede them, and a sum that is clipped keeps half
    precision finite.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        flavor: str,
        resample: str,
        dropout: float,
        head_channels: int = 0,
    ):
        super().__init__()
        self.flavor, self.resample, self.dropout = flavor, resample, dropout
        first = out_channels if flavor == ENCODER else in_channels
        self.emb_gain = nn.Parameter(torch.zeros(()))
        self.emb_linear = MPConv(emb_channels, out_channels)
        self.conv_res0 = MPConv(first, out_channels, (3, 3), scale=1 / SILU)
        self.conv_res1 = MPConv(out_channels, out_channels, (3, 3), scale=ADDED / SILU)
        self.conv_skip = MPConv(in_channels, out_channels, (1, 1)) if in_channels != out_channels else None
        self.attention = Attention(out_channels, head_channels) if head_channels else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if self.flavor == ENCODER:
            if self.conv_skip is not None:
                x = self.conv_skip(x)
            x = pixel_norm(x)
        y = self.conv_res0(F.silu(x))
        scale = self.emb_linear(emb, gain=self.emb_gain) + 1
        y = modulated_silu(y, scale)
        if self.dropout and self.training:
            y = F.dropout(y, self.dropout)
        y = self.conv_res1(y)
        if self.flavor == DECODER and self.conv_skip is not None:
            x = self.conv_skip(x)
        x = residual_sum(x, y)
        if self.attention is not None:
            x = residual_sum(x, ADDED * self.attention(x))
        return x.clip(-256, 256) if torch.is_grad_enabled() else x.clip_(-256, 256)
