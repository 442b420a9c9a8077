"""Whether a measurement looks as if its image were on another scale than [-1, 1]."""

from __future__ import annotations

import warnings

from torch import Tensor

from operators import LinearOperator

LOOKED_AT = 2**20  # values of a measurement, evenly spread
EXTREME = 0.001  # share of the values on either side that may be outliers
TOLD_APART = 0.5  # noise, in units of what a white image gives, under which black is told from gray


class ScaleWarning(RuntimeWarning):
    """Of measurements that look as if their images were on another scale than [-1, 1]."""


def warn_of_scale(y: Tensor, operator: LinearOperator, sigma_y: float) -> None:
    """Warn of values that fit images on 0..255, or on [0, 1].

    They are compared with ``w = A 1``, what a white image gives: on [-1, 1] most lie between -w and w. A measurement
    that ends at 0 and near w is that of an image on [0, 1], or of one with nothing darker than a middle gray.
    """
    white = operator(y.new_ones(operator.batch_size or 1, *operator.in_shape)).flatten(1)
    largest, step = white.abs().amax().item(), -(-y.numel() // LOOKED_AT)
    y, white = y.flatten(1)[:, ::step], white[:, ::step]
    ordered = (y / white)[(white.abs() > 0.5 * largest).expand_as(y)].sort().values
    if len(ordered) == 0:
        return
    low, high = (ordered[round(share * (len(ordered) - 1))].item() for share in (EXTREME, 1 - EXTREME))
    noise = 0.02 + 4 * sigma_y / largest
    if high > 3 + noise:
        found = f"reaches {high:.3g} times what a white image gives"
    elif noise < TOLD_APART and abs(low) < noise and 0.5 < high < 1 + noise:
        found = f"lies between {max(low, 0):.2g} and {high:.2g} times what a white image gives"
    else:
        return
    warnings.warn(
        f"y {found}: is it of images on [-1, 1], as it must be, or on 0..255 (x / 127.5 - 1) or [0, 1] (2 x - 1)?",
        ScaleWarning,
        stacklevel=4,
    )
