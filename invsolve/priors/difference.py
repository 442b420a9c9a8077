"""Weights as their difference from another prior's, rounded: of a network trained on a little, 4 bits a weight.

A weight's difference ``d`` is kept as the integer nearest to ``d / step``, of one byte, with a ``step`` for each output
channel: a quarter of the root mean square of its differences. That is off by 7 % of the difference
(``step / sqrt(12)``), and by far less of the weight. The bytes are mostly small, so that they compress to half.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

STEP = 0.25  # of the root mean square of an output channel's differences
LARGEST = 127
SUFFIX = ".step"
Tensors = Mapping[str, Tensor]


def difference(tensors: Tensors, base: Tensors) -> dict[str, Tensor]:
    """What :func:`restored` makes the tensors of again: those of one dimension as they are, the others rounded.

    Raises:
        ValueError: the two have other names or shapes.
    """
    if {name: value.shape for name, value in tensors.items()} != {name: value.shape for name, value in base.items()}:
        raise ValueError("they are not of the same network")
    found = {}
    for name, value in tensors.items():
        if value.ndim < 2:
            found[name] = value
            continue
        d = value.float() - base[name].float()
        step = STEP * d.square().mean(dim=tuple(range(1, d.ndim)), keepdim=True).sqrt().clamp_min(1e-12)
        found[name] = (d / step).round().clamp(-LARGEST, LARGEST).to(torch.int8)
        found[name + SUFFIX] = step
    return found


def restored(tensors: Tensors, base: Tensors) -> dict[str, Tensor]:
    """The tensors again, in float32 where they were rounded. Raises KeyError where ``base`` lacks one."""
    steps = {name: value for name, value in tensors.items() if name.endswith(SUFFIX)}
    return {
        name: base[name].float() + steps[name + SUFFIX] * value if name + SUFFIX in steps else value
        for name, value in tensors.items()
        if name not in steps
    }
