"""Our operators beside deepinv's of the same definition (see ``invsolve/adapters/deepinv.py``), for their times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import torch
from timing import in_turn, medians

from invsolve.runtime.optional import import_optional
from operators import (
    BlurDecimate,
    CircularConvolution,
    Grayscale,
    Identity,
    LinearOperator,
    Mask,
    gaussian_kernel,
    random_mask,
)

LAM = 0.1  # of the proximal maps
AT_LEAST = 0.01  # seconds of a measurement
Shape = tuple[int, int, int]


class Pair(NamedTuple):
    ours: Callable[[Shape], LinearOperator]
    theirs: Callable  # of deepinv.physics and the shape


def mask(shape: Shape) -> torch.Tensor:
    return random_mask(shape[1:], 0.7, seed=0)


def four(kernel: torch.Tensor) -> torch.Tensor:
    return kernel.float()[None, None]


WIDE, NARROW = gaussian_kernel(31, 3.0), gaussian_kernel(8, 2.0)
PAIRS = {
    "identity": Pair(Identity, lambda physics, shape: physics.Denoising()),
    "mask": Pair(lambda shape: Mask(shape, mask(shape)), lambda physics, shape: physics.Inpainting(shape, mask(shape))),
    "circular blur": Pair(
        lambda shape: CircularConvolution(shape, WIDE), lambda physics, shape: physics.BlurFFT(shape, four(WIDE))
    ),
    "blur, every 4th pixel": Pair(
        lambda shape: BlurDecimate(shape, NARROW, 4),
        lambda physics, shape: physics.Downsampling(shape, four(NARROW), 4),
    ),
    "grayscale": Pair(lambda shape: Grayscale(shape, "mean"), lambda physics, shape: physics.Decolorize(3, srf="flat")),
}


def operator_row(name: str, batch: int, size: int, repeat: int, device: torch.device) -> dict[str, object]:
    """Milliseconds of ours and of deepinv's, where it is installed, and the largest difference of their values.

    deepinv's proximal map of a grayscale operator drops what A does not see, and differs for that.
    """
    shape, (make, theirs) = (3, size, size), PAIRS[name]
    ours = make(shape).to(device)
    x, v = torch.randn(2, batch, *shape, device=device)
    y = ours(x)
    sides = {"ours": (partial(ours, x), partial(ours.adjoint, y), partial(ours.prox, v, y, LAM))}
    if find_spec("deepinv") is not None:
        physics = theirs(import_optional("deepinv").physics, shape).to(device)
        sides["deepinv"] = (
            partial(physics.A, x),
            partial(physics.A_adjoint, y),
            partial(physics.prox_l2, v, y, 1 / LAM),
        )
    row: dict[str, object] = {"operator": name, "batch": batch}
    for what, *calls in zip(("forward", "adjoint", "prox"), *sides.values(), strict=True):
        times = in_turn(dict(zip(sides, calls, strict=True)), repeat, device, AT_LEAST)
        row |= {f"{what}: {side}, ms": 1000 * medians(times[side])[0] for side in sides}
        if len(sides) > 1:
            found, expected = (call() for call in calls)
            row[f"{what}: difference"] = (found - expected).abs().max().item()
    return row
