"""What a task's ``operator`` may say, and the operator it stands for at an image size.

A new degradation is one file in ``operators/``, one builder and one line of ``DEGRADATIONS`` here, one YAML in
``tasks/``. Builders import the operators, and so torch, when they are called: tasks are read without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .validation import Check, choice, integer, number

if TYPE_CHECKING:
    from torch import Tensor

    from operators import LinearOperator

Shape = tuple[int, int, int]  # (C, H, W)
BOUNDARIES = ("circular", "reflect", "replicate", "zero")  # how a blurred image goes on beyond its edges
BOUNDARY = choice(*BOUNDARIES)


@dataclass(frozen=True)
class Request:
    """What an operator is built from: the task's parameters, the clean image's shape, and what the user brought."""

    parameters: Mapping[str, Any]
    shape: Shape
    given: Tensor | None  # the user's mask [H, W] (1 = observed) or kernel [h, w]
    seed: int


def _inpaint_box(request: Request) -> LinearOperator:
    from operators import Mask, box_mask

    _, height, width = request.shape
    share = request.parameters["box"]
    box = (max(1, round(share * height)), max(1, round(share * width)))
    return Mask(request.shape, box_mask((height, width), box) if request.given is None else request.given)


def _inpaint_random(request: Request) -> LinearOperator:
    from operators import Mask, random_mask

    missing = request.parameters["missing"]
    mask = random_mask(request.shape[1:], missing, request.seed) if request.given is None else request.given
    return Mask(request.shape, mask)


def _super_resolution(request: Request) -> LinearOperator:
    from operators import Resize

    return Resize(request.shape, request.parameters["factor"], request.parameters["filter"])


def _gaussian_blur(request: Request) -> LinearOperator:
    from operators import GaussianBlur, blur

    parameters = request.parameters
    if request.given is not None:
        return blur(request.shape, request.given, parameters["boundary"])
    return GaussianBlur(request.shape, float(parameters["std"]), parameters["size"], parameters["boundary"])


def _motion_blur(request: Request) -> LinearOperator:
    from operators import blur, motion_kernel

    parameters = request.parameters
    kernel = request.given
    if kernel is None:
        kernel = motion_kernel(parameters["size"], float(parameters["intensity"]), request.seed)
    return blur(request.shape, kernel, parameters["boundary"])


def _denoise(request: Request) -> LinearOperator:
    from operators import Identity

    return Identity(request.shape)


def _grayscale(request: Request) -> LinearOperator:
    from operators import Grayscale

    return Grayscale(request.shape, request.parameters["weights"])


def _same_shape(measured: Shape, parameters: Mapping[str, Any]) -> Shape:
    return measured


def _enlarged(measured: Shape, parameters: Mapping[str, Any]) -> Shape:
    channels, height, width = measured
    return channels, height * parameters["factor"], width * parameters["factor"]


def _coloured(measured: Shape, parameters: Mapping[str, Any]) -> Shape:
    return 3, *measured[1:]


@dataclass(frozen=True)
class Degradation:
    """One kind of operator: its parameters in YAML, how to build it, and what the user can bring to it."""

    build: Callable[[Request], LinearOperator]
    required: Mapping[str, Check] = field(default_factory=dict)
    image_shape: Callable[[Shape, Mapping[str, Any]], Shape] = _same_shape  # of the clean image, from the measurement's
    channels: int = 3  # of a degraded picture
    takes: str | None = None  # "mask" or "kernel"
    random: bool = False  # drawn from the seed unless the user brings it


DEGRADATIONS: dict[str, Degradation] = {
    "denoise": Degradation(_denoise),
    "grayscale": Degradation(_grayscale, {"weights": choice("mean", "rec601")}, image_shape=_coloured, channels=1),
    "super_resolution": Degradation(
        _super_resolution,
        {"factor": integer(1), "filter": choice("cubic", "lanczos3", "area")},
        image_shape=_enlarged,
    ),
    "inpaint_box": Degradation(_inpaint_box, {"box": number(above=0, high=1)}, takes="mask"),
    "inpaint_random": Degradation(_inpaint_random, {"missing": number(0, 1)}, takes="mask", random=True),
    "gaussian_blur": Degradation(
        _gaussian_blur, {"size": integer(1), "std": number(above=0), "boundary": BOUNDARY}, takes="kernel"
    ),
    "motion_blur": Degradation(
        _motion_blur,
        {"size": integer(3), "intensity": number(0, 1), "boundary": BOUNDARY},
        takes="kernel",
        random=True,
    ),
}
