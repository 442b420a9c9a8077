"""Where a measurement is flat, the restored picture is: a prior's samples are so up to 4 of 255 gray levels only."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

WINDOW = 17  # measured pixels per side of the neighbourhood that must be flat
FLAT, UNEVEN = (
    1.5 / 127.5,
    3.5 / 127.5,
)  # ranges of its values: flat up to 1 of 255 levels, as of rounding; not from 3 on
EXTREME = 1 - 3 / 127.5  # |gray| from which no colour but black or white has that brightness


def flat_part(y: Tensor, mask: Tensor | None, channels: int) -> tuple[Tensor, Tensor]:
    """Where a measurement ``[C, h, w]`` is flat, and its values there: weights ``[1, h, w]``, 1 for flat, and a mean.

    ``mask`` ``[h, w]`` is 1 on the observed pixels, all by default; a hole is flat where all that is near its rim is.
    Of an image of 3 ``channels`` a gray measurement tells the colour where it is black or white.
    """
    observed = torch.ones_like(y[:1]) if mask is None else mask.to(y)[None]
    missing = observed == 0
    highest = _pooled(y.masked_fill(missing, -torch.inf))
    lowest = -_pooled((-y).masked_fill(missing, -torch.inf))
    spread = (highest - lowest).amax(dim=0, keepdim=True).nan_to_num(torch.inf, posinf=torch.inf, neginf=torch.inf)
    weight = ((UNEVEN - spread) / (UNEVEN - FLAT)).clamp(0, 1)
    value = _mean(y.masked_fill(missing, 0)) / _mean(observed).clamp(min=1 / WINDOW**2)
    if len(y) < channels:
        weight = weight * (value.abs() >= EXTREME)
    if mask is not None:
        weight, value = _with_holes(y.cpu(), observed[0].cpu(), weight.cpu(), value.cpu())
    return weight, value


def _with_holes(y: Tensor, observed: Tensor, weight: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and values of each hole as a whole: it is flat if the observed pixels within half a window of it are."""
    from scipy.ndimage import binary_dilation, find_objects, label, maximum

    holes, count = label(observed.numpy() == 0, np.ones((3, 3)))
    candidates = maximum(weight[0].numpy(), holes, range(1, count + 1)) == 1  # flat near a part of their rim at least
    weight = weight * observed
    reach, places = WINDOW // 2, find_objects(holes)
    for number in np.flatnonzero(candidates):
        around = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in places[number])
        hole = holes[around] == number + 1
        near = binary_dilation(hole, np.ones((3, 3)), iterations=reach) & (observed[around].numpy() == 1)
        rim = y[(slice(None), *around)][:, torch.from_numpy(near)]
        if (rim.amax(1) - rim.amin(1)).max() <= FLAT:
            weight[(slice(None), *around)][:, torch.from_numpy(hole)] = 1
            value[(slice(None), *around)][:, torch.from_numpy(hole)] = rim.mean(1, keepdim=True)
    return weight, value


def keep_flat(x: Tensor, weight: Tensor, value: Tensor) -> Tensor:
    """Images ``[..., C, H, W]`` with what :func:`flat_part` found in place, enlarged where they are larger."""
    weight, value = (
        interpolate(part[None], x.shape[-2:], mode="bilinear", align_corners=False)[0] for part in (weight, value)
    )
    return torch.lerp(x, value.to(x).expand(x.shape), weight.to(x).expand(x.shape))


def _pooled(y: Tensor) -> Tensor:
    return max_pool2d(y[None], WINDOW, stride=1, padding=WINDOW // 2)[0]


def _mean(y: Tensor) -> Tensor:
    """Over the neighbourhood within the image, times the share of it that is."""
    return avg_pool2d(y[None], WINDOW, stride=1, padding=WINDOW // 2)[0]
