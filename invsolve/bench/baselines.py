"""What a user has without the product: a simple picture made of the measurement, by the kind of degradation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor
from torch.nn import functional as F

from operators import LinearOperator

DAMPING = 0.01

# From measurements [B, *operator.out_shape] to images [B, *operator.in_shape].
Baseline = Callable[[Tensor, LinearOperator], Tensor]


def bicubic(y: Tensor, operator: LinearOperator) -> Tensor:
    """Bicubic upsampling to the size of the clean image."""
    return F.interpolate(y, size=operator.in_shape[1:], mode="bicubic", align_corners=False)


def measurement(y: Tensor, operator: LinearOperator) -> Tensor:
    """The measurement as it is."""
    return y


def nearest_observed(y: Tensor, operator: LinearOperator) -> Tensor:
    """Every missing pixel takes the value of the nearest observed one of its image and channel."""
    mask = operator.mask.bool()  # [1 or B, 1 or C, H, W]
    nearest = np.stack([_nearest(observed) for observed in mask.flatten(0, 1).cpu().numpy()])
    index = torch.from_numpy(nearest).to(y.device).reshape(*mask.shape[:2], -1)
    return y.flatten(2).gather(2, index.expand(*y.shape[:2], -1)).reshape(y.shape)


def _nearest(observed: np.ndarray) -> np.ndarray:
    """Of each pixel ``[H, W]`` the nearest observed one's position in the flattened image; 0 where there is none."""
    rows, columns = scipy.ndimage.distance_transform_edt(~observed, return_distances=False, return_indices=True)
    return np.maximum(rows.astype(np.int64) * observed.shape[1] + columns, 0)


def gray(y: Tensor, operator: LinearOperator) -> Tensor:
    """The gray measurement in all colours."""
    return y.expand(-1, operator.in_shape[0], -1, -1)


def least_squares(y: Tensor, operator: LinearOperator) -> Tensor:
    """argmin |A u - y|² + lam |u|²: what needs nothing but A.

    ``lam`` is 1 % of A's power gain |A v|² / |v|² at v = A^T y, so that the noise stays small where A all but vanishes.
    What A does not show at all becomes gray.
    """
    v = operator.adjoint(y)
    energy = v.square().flatten(1).sum(1)
    gain = operator(v).square().flatten(1).sum(1) / energy.where(energy > 0, 1)
    return operator.prox(torch.zeros_like(v), y, DAMPING * gain)


def baseline_for(kind: str) -> Baseline:
    """The baseline of a task's kind; least squares for one that has none of its own."""
    return BASELINES.get(kind, least_squares)


BASELINES: dict[str, Baseline] = {
    "super_resolution": bicubic,
    "gaussian_blur": measurement,
    "motion_blur": measurement,
    "denoise": measurement,
    "grayscale": gray,
    "inpaint_random": nearest_observed,
    "inpaint_box": nearest_observed,
}
