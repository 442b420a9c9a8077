"""What a user has without the product: a simple picture made of the measurement, by the kind of degradation."""

from __future__ import annotations

from collections.abc import Callable

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
    """Every missing pixel takes the value of the nearest observed one."""
    mask = operator.mask[0].expand(operator.in_shape)[0].bool().cpu().numpy()
    rows, columns = scipy.ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return y[:, :, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


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
