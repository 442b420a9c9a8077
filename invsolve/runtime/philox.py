"""Philox 4x64-10, a counter-based generator, in tensor operations: the integers of NumPy's, made on any device.

Block j of the stream with key k is a bijection of j alone (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"): all blocks of all streams are computed at once, and nothing is remembered but how many were used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # what the two halves of the key grow by after each round
LOW = 0xFFFFFFFF
BLOCK = 4  # words of 64 bits


def philox(keys: Tensor, first: int, blocks: int) -> Tensor:
    """The words of so many blocks from ``first`` on, ``[B, 4 blocks]``, for keys ``[B, 2]``; all are int64.

    A word holds the bits of an unsigned integer. Block 0 is the first that ``numpy.random.Philox(key)`` gives: its
    counter is 1.
    """
    c0 = torch.arange(blocks, device=keys.device) + (first + 1)
    c0 = c0.expand(len(keys), -1)
    c1 = c2 = c3 = torch.zeros_like(c0)
    k0, k1 = keys[:, :1], keys[:, 1:]
    for _ in range(ROUNDS):
        (high0, low0), (high1, low1) = _product(c0, MULTIPLIERS[0]), _product(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + signed(WEYL[0]), k1 + signed(WEYL[1])
    return torch.stack([c0, c1, c2, c3], dim=-1).flatten(1)


def box_muller(words: Tensor) -> tuple[Tensor, Tensor]:
    """Two standard normals in float32 of each word (Box and Muller 1958), both in the words' shape.

    Half a word gives the radius ``sqrt(-2 ln u)``, ``u`` in (0, 1] of 31 bits, the other an angle of 32 bits.
    """
    halves = words.view(torch.int32).unflatten(-1, (-1, 2)).float()
    radius = halves[..., 1].abs().add(0.5).mul(2.0**-31).log().mul(-2).sqrt()
    angle = halves[..., 0] * (math.pi * 2.0**-31)
    return radius * angle.cos(), radius * angle.sin()


def signed(word: int) -> int:
    """The signed integer that has the 64 bits of ``word``."""
    return word - (word >> 63 << 64)


def _product(a: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of the unsigned product of words with a constant."""
    a0, a1, b0, b1 = a & LOW, _upper(a), factor & LOW, factor >> 32
    inner, outer = a0 * b1, a1 * b0
    carry = _upper(a0 * b0) + (inner & LOW) + (outer & LOW)
    return a1 * b1 + _upper(inner) + _upper(outer) + _upper(carry), a * signed(factor)


def _upper(a: Tensor) -> Tensor:
    return (a >> 32) & LOW
