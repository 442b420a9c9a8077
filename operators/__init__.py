"""Linear degradations of images: `y = A x`, the adjoint, the exact proximal map and exact conditional samples."""

from operators.base import Composition, LinearOperator, Scaled
from operators.blur import GaussianBlur, blur
from operators.cg import solve_least_squares, solve_spd
from operators.convolution import CircularConvolution, Convolution
from operators.decimation import BlurDecimate
from operators.function import FunctionOperator
from operators.grayscale import Grayscale
from operators.identity import Identity
from operators.kernels import gaussian_kernel, motion_kernel, without_zero_border
from operators.mask import Mask, box_mask, random_mask
from operators.resize import Resize
from operators.separable import SeparableOperator
from operators.stack import Stack
from operators.transform import MaskedFourier, MaskedHadamard

__all__ = [
    "BlurDecimate",
    "CircularConvolution",
    "Composition",
    "Convolution",
    "FunctionOperator",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "LinearOperator",
    "Mask",
    "MaskedFourier",
    "MaskedHadamard",
    "Resize",
    "Scaled",
    "SeparableOperator",
    "Stack",
    "blur",
    "box_mask",
    "gaussian_kernel",
    "motion_kernel",
    "random_mask",
    "solve_least_squares",
    "solve_spd",
    "without_zero_border",
]
