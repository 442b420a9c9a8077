"""The kinds of operators that a task can have, with their parameters in YAML.

A new degradation is one file in ``operators/``, one class and one entry of ``DEGRADATIONS`` here, one YAML in
``tasks/``. The operators, and so torch, are imported when one is built: tasks are read without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from .fields import Bounds, Checked, Count, Positive, Share

if TYPE_CHECKING:
    from torch import Tensor

    from operators import NoiseModel, Operator

Shape = tuple[int, int, int]  # (C, H, W)
THIN = 6  # pixels from the nearest observed one, at most, in what counts as a scratch
# How a blurred image goes on beyond its edges; valid: in an unknown way, and the image is larger than what is measured.
Boundary = Literal["circular", "reflect", "replicate", "zero", "valid"]
Margins = tuple[tuple[int, int], tuple[int, int]]  # pixels (above, below), (to the left, to the right)


@dataclass(frozen=True)
class Degradation(Checked):
    """One kind of operator. Its fields are the keys of a task's ``operator``."""

    channels: ClassVar[int] = 3  # of a degraded picture
    takes: ClassVar[str | None] = None  # "mask" or "kernel": what the user can bring
    pictures: ClassVar[bool] = True  # what is measured can be a picture file
    random: ClassVar[bool] = False  # the mask or kernel is random, unless the user brings it
    own_noise: ClassVar[bool] = False  # the noise comes with the operator
    linear: ClassVar[bool] = True

    def operator(self, shape: Shape, given: Tensor | None = None, seed: int = 0) -> Operator:
        """The operator on clean images of a shape.

        ``given`` is the user's mask ``[H, W]`` (1 = observed) or kernel ``[h, w]``, ``seed`` that of a random one.
        """
        import operators

        return self.build(operators, shape, given, seed)

    def build(self, operators: ModuleType, shape: Shape, given: Tensor | None, seed: int) -> Operator:
        """:meth:`operator`, from the package ``operators``, which is not imported before."""
        raise NotImplementedError

    def noise(self, operator: Operator) -> NoiseModel | None:
        """The noise that comes with an operator of this kind; None: that is the task's to say."""
        return None

    def image_shape(self, measured: Shape, given: Tensor | None = None) -> Shape:
        """Shape of the clean image behind a measurement."""
        return measured

    @property
    def multiples(self) -> tuple[int, int]:
        """What height and width of a clean image are multiples of."""
        return 1, 1

    def resembles(self, given: Tensor | None) -> bool:
        """Whether settings that were tuned for the degradation's own mask or kernel serve for the user's too."""
        return True

    def margins(self, given: Tensor | None = None) -> Margins:
        """By how much the clean image reaches beyond the measured part."""
        return (0, 0), (0, 0)


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

    def image_shape(self, measured, given=None):
        return 3, *measured[1:]


@dataclass(frozen=True)
class SuperResolution(Degradation):
    """A picture reduced by an integer factor."""

    factor: Count
    filter: Literal["cubic", "lanczos3", "area"]

    def build(self, operators, shape, given, seed):
        return operators.Resize(shape, self.factor, self.filter)

    def image_shape(self, measured, given=None):
        channels, height, width = measured
        return channels, height * self.factor, width * self.factor

    @property
    def multiples(self):
        return self.factor, self.factor


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

    def resembles(self, given):
        """Scratches do, whose pixels all have an observed one near; in larger holes more must be invented."""
        from scipy.ndimage import distance_transform_edt

        return given is None or float(distance_transform_edt(given.numpy() == 0).max()) <= THIN


class Blur(Degradation):
    """A blur by a kernel of ``size`` x ``size`` taps or the user's; its fields are those of the classes below."""

    takes = "kernel"

    def image_shape(self, measured, given=None):
        channels, height, width = measured
        (above, below), (left, right) = self.margins(given)
        return channels, height + above + below, width + left + right

    def margins(self, given=None):
        from operators.boundary import VALID, margins

        if self.boundary != VALID:
            return (0, 0), (0, 0)
        rows, columns = (self.taps, self.taps) if given is None else given.shape
        return margins(rows), margins(columns)

    @property
    def taps(self) -> int:
        """Taps per side of the task's own kernel."""
        return self.size


@dataclass(frozen=True)
class GaussianBlur(Blur):
    """Blur by a Gaussian, cut off at ``size`` pixels, or where its boundary is valid at 4 ``std`` from its centre."""

    size: Count
    std: Positive  # pixels
    boundary: Boundary

    def build(self, operators, shape, given, seed):
        if given is not None:
            return operators.blur(shape, given, self.boundary)
        return operators.GaussianBlur(shape, float(self.std), self.taps, self.boundary)

    @property
    def taps(self) -> int:
        return min(self.size, 2 * math.ceil(4 * self.std) + 1) if self.boundary == "valid" else self.size


@dataclass(frozen=True)
class MotionBlur(Blur):
    """Blur along the path of a shaken camera."""

    size: Annotated[int, Bounds(at_least=3)]
    intensity: Share  # 0: a straight path
    boundary: Boundary
    random = True

    def build(self, operators, shape, given, seed):
        kernel = operators.motion_kernel(self.size, float(self.intensity), seed) if given is None else given
        return operators.blur(shape, kernel, self.boundary)


@dataclass(frozen=True)
class Clip(Degradation):
    """More contrast than there is room for: highlights and shadows are cut off."""

    factor: Positive  # of the contrast
    linear = False

    def build(self, operators, shape, given, seed):
        return operators.Clip(shape, float(self.factor))


@dataclass(frozen=True)
class Jpeg(Degradation):
    """A JPEG file. Its quality and subsampling are those of simulations: a file says its own."""

    quality: Annotated[int, Bounds(at_least=1, at_most=100)]
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1"]
    own_noise = True

    def build(self, operators, shape, given, seed):
        from operators.jpeg import SUBSAMPLING, quality_tables

        return operators.JPEG(shape, quality_tables(self.quality, shape[0]), SUBSAMPLING[self.subsampling])

    @property
    def multiples(self):
        from operators.jpeg import BLOCK, SUBSAMPLING

        rows, columns = SUBSAMPLING[self.subsampling]
        return BLOCK * rows, BLOCK * columns

    def noise(self, operator):
        return operator.rounding


@dataclass(frozen=True)
class PhaseRetrieval(Degradation):
    """Magnitudes of the Fourier transform of the picture with zeros around it."""

    oversampling: Positive  # eighths of a side that are added on each side
    pictures = linear = False

    def build(self, operators, shape, given, seed):
        return operators.PhaseRetrieval(shape, float(self.oversampling))

    def image_shape(self, measured, given=None):
        channels, height, width = measured
        return channels, *(round(n / (1 + self.oversampling / 4)) for n in (height, width))


DEGRADATIONS: dict[str, type[Degradation]] = {
    "denoise": Denoise,
    "grayscale": Grayscale,
    "super_resolution": SuperResolution,
    "inpaint_box": InpaintBox,
    "inpaint_random": InpaintRandom,
    "gaussian_blur": GaussianBlur,
    "motion_blur": MotionBlur,
    "clip": Clip,
    "jpeg": Jpeg,
    "phase_retrieval": PhaseRetrieval,
}
