"""The normals of ``philox.py`` in one kernel, for CUDA: as hundreds of tensor operations they outlast a network."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 256  # of four words, that a program computes
UNIT: tl.constexpr = tl.constexpr(2.0**-31)
ANGLE: tl.constexpr = tl.constexpr(math.pi * 2.0**-31)


def fused_normals(keys: Tensor, first: int, blocks: int) -> Tensor:
    """``torch.cat(box_muller(philox(keys, first, blocks)), dim=1)``, on the keys' device."""
    out = torch.empty(len(keys), 8 * blocks, dtype=torch.float32, device=keys.device)
    with torch.cuda.device_of(keys):  # Triton launches on the current device
        _fill[triton.cdiv(blocks, BLOCKS), len(keys)](keys, out, first, blocks, BLOCKS)
    return out


@triton.jit(do_not_specialize=["first", "blocks"])
def _fill(keys, out, first, blocks, BLOCKS: tl.constexpr):
    program, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    k0 = tl.load(keys + 2 * image).to(tl.uint64, bitcast=True)
    k1 = tl.load(keys + 2 * image + 1).to(tl.uint64, bitcast=True)
    c0 = (program * BLOCKS + tl.arange(0, BLOCKS) + first + 1).to(tl.uint64)
    c0, c1, c2, c3 = tl.philox_impl(c0, tl.zeros_like(c0), tl.zeros_like(c0), tl.zeros_like(c0), k0, k1, 10)
    word = tl.interleave(tl.interleave(c0, c2), tl.interleave(c1, c3))
    radius = tl.abs((word >> 32).to(tl.int32).to(tl.float32))
    radius = tl.sqrt(-2 * tl.log((radius + 0.5) * UNIT))
    angle = word.to(tl.int32).to(tl.float32) * ANGLE
    place, words = program * 4 * BLOCKS + tl.arange(0, 4 * BLOCKS), 4 * blocks
    row = out + image * 2 * words
    tl.store(row + place, radius * tl.cos(angle), mask=place < words)
    tl.store(row + words + place, radius * tl.sin(angle), mask=place < words)
