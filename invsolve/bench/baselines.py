"""What a user has without the product: a simple picture made of the measurement, by the kind of degradation."""

from __future__ import annotations

from collections.abc import Callable

import scipy.ndimage
import torch
from torch import Tensor
from torch.nn import functional as F

from operators import LinearOperator


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


# A task's kind: from measurements [B, *operator.out_shape] to images [B, *operator.in_shape].
BASELINES: dict[str, Callable[[Tensor, LinearOperator], Tensor]] = {
    "super_resolution": bicubic,
    "gaussian_blur": measurement,
    "motion_blur": measurement,
    "denoise": measurement,
    "grayscale": gray,
    "inpaint_random": nearest_observed,
    "inpaint_box": nearest_observed,
}
