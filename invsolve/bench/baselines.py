"""What a user has without the product: `baseline`, a simple picture made of the measurement, and classical methods.

=======================  =============================================================================================
``baseline``             by the kind of degradation: bicubic, measurement, nearest, gray, elsewhere least_squares
``baseline:NAME``        one of ``BASELINES``, at the kinds of degradations that it is made for
=======================  =============================================================================================

What a baseline of ``BASELINES`` can be tuned by is one number, chosen per task on training pictures by
``benchmarks/tune_baselines.py``; the values are in ``baselines.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor
from torch.nn import functional as F

from operators import LinearOperator, Operator, PhaseRetrieval
from operators.fienup import retrieved

from ..images.files import resized
from ..runtime.random_streams import NoiseStreams
from ..specs.fields import suggestion
from ..specs.task import Task
from ..specs.yaml_file import read_yaml
from . import classical

DAMPING = 0.01
TUNED = Path(__file__).with_name("baselines.yaml")
REVISION = 1  # of the classical methods: raised when one changes

OTHERS = ("jpeg", "clip", "phase_retrieval")  # kinds for which no method for linear operators and white noise is made
BLURS, HOLES = ("gaussian_blur", "motion_blur"), ("inpaint_random", "inpaint_box")

# From measurements [B, *operator.out_shape] to images [B, *operator.in_shape].
Restore = Callable[[Tensor, LinearOperator], Tensor]


def bicubic(y: Tensor, operator: LinearOperator) -> Tensor:
    """Bicubic upsampling to the size of the clean image."""
    return F.interpolate(y, size=operator.in_shape[1:], mode="bicubic", align_corners=False)


def lanczos(y: Tensor, operator: LinearOperator) -> Tensor:
    """Upsampling to the size of the clean image by Pillow's Lanczos filter."""
    return resized(y, operator.in_shape[1:])


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


def estimate(y: Tensor, operator: Operator) -> Tensor:
    """The first image that the operator knows of: the decoded JPEG, the contrast undone; gray where it knows none."""
    return operator.first_image(y)


def input_output(y: Tensor, operator: PhaseRetrieval) -> Tensor:
    """Hybrid input-output (Fienup 1982) and error reduction, each channel from a random start."""
    magnitude, support = operator.magnitude(y), operator.support(y.device)
    start = NoiseStreams(0, [0] * len(y), y.device, y.dtype)(operator.in_shape).abs()
    g, _ = retrieved(operator.padded(start), magnitude, support)
    return 2 * operator.cropped(g) - 1


@dataclass(frozen=True)
class Baseline:
    """A baseline, the kinds of degradations that it is made for, and what it is tuned by.

    ``restore`` takes ``(y, operator)``; where there is a ``parameter`` it is made for an operator by
    ``restore(operator, sigma_y, value)`` and takes ``y``, whose noise is white. No ``kinds``: any linear operator.
    """

    restore: Callable
    kinds: tuple[str, ...] = ()
    parameter: str | None = None
    default: float = 0.0  # of the parameter, at tasks that nothing was tuned for

    def serves(self, task: Task) -> bool:
        if self.parameter and not task.is_white:
            return False
        return task.kind in self.kinds if self.kinds else task.kind not in OTHERS


BASELINES: dict[str, Baseline] = {
    "measurement": Baseline(measurement, (*BLURS, "denoise")),
    "bicubic": Baseline(bicubic, ("super_resolution",)),
    "lanczos": Baseline(lanczos, ("super_resolution",)),
    "nearest": Baseline(nearest_observed, HOLES),
    "gray": Baseline(gray, ("grayscale",)),
    "estimate": Baseline(estimate, OTHERS[:2]),
    "hio": Baseline(input_output, OTHERS[2:]),
    "least_squares": Baseline(least_squares),
    "biharmonic": Baseline(classical.biharmonic, HOLES),
    "wiener": Baseline(classical.wiener, BLURS, "balance", 30.0),
    "richardson_lucy": Baseline(classical.richardson_lucy, BLURS, "iterations", 16),
    "nlm": Baseline(classical.non_local_means, ("denoise", "grayscale"), "strength", 0.3),
    "bm3d": Baseline(classical.bm3d, ("denoise", "grayscale"), "sigma_factor", 1.0),
    "tv": Baseline(classical.total_variation, (), "weight", 0.2),
}
SIMPLE = {  # the baseline of a kind of degradation
    "super_resolution": "bicubic",
    "gaussian_blur": "measurement",
    "motion_blur": "measurement",
    "denoise": "measurement",
    "grayscale": "gray",
    "inpaint_random": "nearest",
    "inpaint_box": "nearest",
    "jpeg": "estimate",
    "clip": "estimate",
    "phase_retrieval": "hio",
}


def baselines_of(task: Task) -> list[str]:
    """The names of those that are made for a task, and installed."""
    names = [name for name, baseline in BASELINES.items() if baseline.serves(task)]
    return [name for name in names if name != "bm3d" or find_spec("bm3d")]


def make_baseline(
    name: str | None, task: Task, operator: Operator, value: float | None = None
) -> tuple[Callable[[Tensor], Tensor], dict[str, float]]:
    """A baseline at a task, from ``y`` to images, and the settings that it has; None: the simple one of its kind.

    ``value`` is that of its parameter, by default the tuned one. Raises ValueError where there is none of that name,
    or it is not made for the task.
    """
    if name is None:
        unknown = "least_squares" if isinstance(operator, LinearOperator) else "estimate"
        restore = BASELINES[SIMPLE.get(task.kind, unknown)].restore
        return lambda y: restore(y, operator), {}
    fit = [known for known, each in BASELINES.items() if each.serves(task)]
    if name not in BASELINES:
        raise ValueError(f"no baseline {name!r}{suggestion(name, fit)}")
    baseline = BASELINES[name]
    if name not in fit:
        kinds = ", ".join(baseline.kinds) or "linear operators"
        made = f"{kinds} with white noise" if baseline.parameter else kinds
        raise ValueError(f"is made for {made}, but {task.name} has {', '.join(fit)}")
    if baseline.parameter is None:
        return lambda y: baseline.restore(y, operator), {}
    if value is None:
        value = tuned_values().get(name, {}).get(task.name, {}).get(baseline.parameter, baseline.default)
    return baseline.restore(operator, task.sigma_y, value), {baseline.parameter: value, "revision": REVISION}


@cache
def tuned_values() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """``baselines.yaml``: baseline, task, parameter."""
    return read_yaml(TUNED) or {}
