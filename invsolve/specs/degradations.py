"""The kinds of operators that a task can have, with their parameters in YAML.

A new degradation is one file in ``operators/``, one class and one entry of ``DEGRADATIONS`` here, one YAML in
``tasks/``. The operators, and so torch, are imported when one is built: tasks are read without.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from .fields import Bounds, Checked, Count, Positive, Share

if TYPE_CHECKING:
    from torch import Tensor

    from operators import LinearOperator

Shape = tuple[int, int, int]  # (C, H, W)
Boundary = Literal["circular", "reflect", "replicate", "zero"]  # how a blurred image goes on beyond its edges


@dataclass(frozen=True)
class Degradation(Checked):
    """One kind of operator. Its fields are the keys of a task's ``operator``."""

    channels: ClassVar[int] = 3  # of a degraded picture
    takes: ClassVar[str | None] = None  # "mask" or "kernel": what the user can bring
    random: ClassVar[bool] = False  # the mask or kernel is random, unless the user brings it

    def operator(self, shape: Shape, given: Tensor | None = None, seed: int = 0) -> LinearOperator:
        """The operator on clean images of a shape.

        ``given`` is the user's mask ``[H, W]`` (1 = observed) or kernel ``[h, w]``, ``seed`` that of a random one.
        """
        import operators

        return self.build(operators, shape, given, seed)

    def build(self, operators: ModuleType, shape: Shape, given: Tensor | None, seed: int) -> LinearOperator:
        """:meth:`operator`, from the package ``operators``, which is not imported before."""
        raise NotImplementedError

    def image_shape(self, measured: Shape) -> Shape:
        """Shape of the clean image behind a measurement."""
        return measured


@dataclass(frozen=True)
class Denoise(Degradation):
    """Noise alone."""

    def build(self, operators, shape, given, seed):
        return operators.Identity(shape)


@dataclass(frozen=True)
class Grayscale(Degradation):
    """The gray picture of a colour one."""

    weights: Literal["mean", "rec601"]
    channels = 1

    def build(self, operators, shape, given, seed):
        return operators.Grayscale(shape, self.weights)

    def image_shape(self, measured: Shape) -> Shape:
        return 3, *measured[1:]


@dataclass(frozen=True)
class SuperResolution(Degradation):
    """A picture reduced by an integer factor."""

    factor: Count
    filter: Literal["cubic", "lanczos3", "area"]

    def build(self, operators, shape, given, seed):
        return operators.Resize(shape, self.factor, self.filter)

    def image_shape(self, measured: Shape) -> Shape:
        channels, height, width = measured
        return channels, height * self.factor, width * self.factor


@dataclass(frozen=True)
class InpaintBox(Degradation):
    """A missing box in the centre."""

    box: Annotated[float, Bounds(above=0, at_most=1)]  # share of the image's sides
    takes = "mask"

    def build(self, operators, shape, given, seed):
        _, height, width = shape
        box = (max(1, round(self.box * height)), max(1, round(self.box * width)))
        return operators.Mask(shape, operators.box_mask((height, width), box) if given is None else given)


@dataclass(frozen=True)
class InpaintRandom(Degradation):
    """Missing pixels at random places."""

    missing: Share  # of the pixels
    takes, random = "mask", True

    def build(self, operators, shape, given, seed):
        return operators.Mask(shape, operators.random_mask(shape[1:], self.missing, seed) if given is None else given)


@dataclass(frozen=True)
class GaussianBlur(Degradation):
    """Blur by a Gaussian, cut off at ``size`` pixels."""

    size: Count
    std: Positive  # pixels
    boundary: Boundary
    takes = "kernel"

    def build(self, operators, shape, given, seed):
        if given is not None:
            return operators.blur(shape, given, self.boundary)
        return operators.GaussianBlur(shape, float(self.std), self.size, self.boundary)


@dataclass(frozen=True)
class MotionBlur(Degradation):
    """Blur along the path of a shaken camera."""

    size: Annotated[int, Bounds(at_least=3)]
    intensity: Share  # 0: a straight path
    boundary: Boundary
    takes, random = "kernel", True

    def build(self, operators, shape, given, seed):
        kernel = operators.motion_kernel(self.size, float(self.intensity), seed) if given is None else given
        return operators.blur(shape, kernel, self.boundary)


DEGRADATIONS: dict[str, type[Degradation]] = {
    "denoise": Denoise,
    "grayscale": Grayscale,
    "super_resolution": SuperResolution,
    "inpaint_box": InpaintBox,
    "inpaint_random": InpaintRandom,
    "gaussian_blur": GaussianBlur,
    "motion_blur": MotionBlur,
}
