"""Degradations of images, `y = A(x)` with noise: linear ones with adjoint, exact proximal map and exact samples."""

from operators.base import Composition, LinearOperator, Scaled
from operators.blur import GaussianBlur, blur
from operators.cg import solve_least_squares, solve_spd
from operators.clip import Clip
from operators.convolution import CircularConvolution, Convolution
from operators.decimation import BlurDecimate
from operators.function import FunctionOperator
from operators.grayscale import Grayscale
from operators.identity import Identity
from operators.jpeg import JPEG
from operators.kernels import gaussian_kernel, motion_kernel, without_zero_border
from operators.mask import Mask, box_mask, random_mask
from operators.multicoil import MultiCoilFourier
from operators.noise import Gaussian, NoiseModel, Poisson, PoissonGaussian, Quantized, Saturated
from operators.operator import Operator
from operators.phase_retrieval import PhaseRetrieval
from operators.resize import Resize
from operators.separable import SeparableOperator
from operators.stack import Stack
from operators.transform import MaskedFourier, MaskedHadamard
from operators.weighted import Weighted

__all__ = [
    "JPEG",
    "BlurDecimate",
    "CircularConvolution",
    "Clip",
    "Composition",
    "Convolution",
    "FunctionOperator",
    "Gaussian",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "LinearOperator",
    "Mask",
    "MaskedFourier",
    "MaskedHadamard",
    "MultiCoilFourier",
    "NoiseModel",
    "Operator",
    "PhaseRetrieval",
    "Poisson",
    "PoissonGaussian",
    "Quantized",
    "Resize",
    "Saturated",
    "Scaled",
    "SeparableOperator",
    "Stack",
    "Weighted",
    "blur",
    "box_mask",
    "gaussian_kernel",
    "motion_kernel",
    "random_mask",
    "solve_least_squares",
    "solve_spd",
    "without_zero_border",
]
