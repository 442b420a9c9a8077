"""Every operator, once or more: a new one is tested by adding a line here. Odd, even and non-square sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from operators import (
    JPEG,
    BlurDecimate,
    CircularConvolution,
    Convolution,
    FunctionOperator,
    GaussianBlur,
    Grayscale,
    Identity,
    LinearOperator,
    Mask,
    MaskedFourier,
    MaskedHadamard,
    MultiCoilFourier,
    Resize,
    SeparableOperator,
    Stack,
    Weighted,
    motion_kernel,
    random_mask,
)

BATCH = 3


def random(*shape: int, seed: int = 0) -> Tensor:
    """Standard normals in float64."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")


def kernel(*shape: int, seed: int = 1) -> Tensor:
    """Positive taps with a dominant centre: invertible, and unlike its mirror images."""
    taps = random(*shape, seed=seed).abs()
    taps[..., shape[-2] // 2, shape[-1] // 2] += 4
    return taps / taps.sum((-2, -1), keepdim=True)


def masks(batch: int, channels: int, height: int, width: int) -> Tensor:
    return (random(batch, channels, height, width, seed=2) > 0.2).float()


def maps(*shape: int) -> Tensor:
    """Sensitivities of coils, complex."""
    return torch.view_as_complex(random(*shape, 2, seed=4)) + 1


def gradient(x: Tensor) -> Tensor:
    """Horizontal differences: a user's function with an output of another shape."""
    return x[..., 1:] - 0.5 * x[..., :-1]


def tables(planes: int) -> list[Tensor]:
    """Steps of a JPEG's coefficients."""
    return [random(8, 8, seed=k).abs() + 1 for k in range(planes)]


def weights(*shape: int) -> Tensor:
    return (random(*shape, seed=3).abs() + 0.2).float()


CASES = {
    "identity": lambda: Identity((3, 5, 4)),
    "mask": lambda: Mask((3, 5, 4), random_mask((5, 4), 0.6, seed=0)),
    "mask per image and channel": lambda: Mask((2, 5, 4), masks(BATCH, 2, 5, 4)),
    "cubic 2x": lambda: Resize((1, 8, 10), 2),
    "cubic 4x": lambda: Resize((2, 8, 12), 4),
    "cubic 3x, not divisible": lambda: Resize((1, 10, 7), 3),
    "lanczos 2x": lambda: Resize((1, 9, 8), 2, "lanczos3"),
    "area 3x": lambda: Resize((1, 9, 6), 3, "area"),
    "separable": lambda: SeparableOperator((2, 5, 4), random(3, 5).numpy(), random(6, 4).numpy()),
    "separable, singular": lambda: SeparableOperator(
        (1, 5, 4), (random(5, 2) @ random(2, 5, seed=1)).numpy(), random(3, 4).numpy()
    ),
    "gaussian reflect": lambda: GaussianBlur((1, 8, 7), 0.7),
    "gaussian replicate": lambda: GaussianBlur((1, 7, 8), 0.8, 5, "replicate"),
    "gaussian zero": lambda: GaussianBlur((1, 7, 6), 0.7, 4, "zero"),
    "gaussian circular, larger than the image": lambda: GaussianBlur((2, 5, 6), 0.7, 13, "circular"),
    "circular odd": lambda: CircularConvolution((2, 7, 6), kernel(3, 5)),
    "circular even": lambda: CircularConvolution((1, 8, 7), kernel(4, 2)),
    "circular per channel": lambda: CircularConvolution((2, 5, 5), kernel(2, 3, 3)),
    "circular per image": lambda: CircularConvolution((1, 6, 7), kernel(BATCH, 1, 3, 4)),
    "circular, singular": lambda: CircularConvolution((1, 6, 9), torch.ones(3, 3, device="cpu").double() / 9),
    "circular, as large as the image": lambda: CircularConvolution((1, 6, 5), kernel(6, 5)),
    "convolution reflect": lambda: Convolution((2, 7, 6), kernel(3, 4), "reflect"),
    "convolution replicate": lambda: Convolution((1, 6, 7), kernel(5, 3), "replicate"),
    "convolution valid": lambda: Convolution((2, 8, 7), kernel(3, 4), "valid"),
    "convolution valid, per image": lambda: Convolution((1, 7, 8), kernel(BATCH, 1, 4, 3), "valid"),
    "gaussian valid": lambda: GaussianBlur((1, 9, 8), 0.7, 4, "valid"),
    "convolution zero": lambda: Convolution((1, 7, 7), kernel(4, 5), "zero"),
    "convolution zero, singular": lambda: Convolution(
        (1, 4, 6), torch.tensor([[0, 0, 0, 1, 0.5]], device="cpu"), "zero"
    ),
    "convolution per image": lambda: Convolution((1, 6, 5), kernel(BATCH, 1, 3, 3), "reflect"),
    "convolution, one column": lambda: Convolution((1, 6, 5), kernel(3, 1), "replicate"),
    "motion": lambda: CircularConvolution((1, 9, 8), motion_kernel(7, 0.5, seed=3)),
    "blur and decimate 2x": lambda: BlurDecimate((1, 8, 6), kernel(3, 3), 2),
    "blur and decimate 3x, per image": lambda: BlurDecimate((2, 6, 9), kernel(BATCH, 1, 4, 5), 3),
    "grayscale": lambda: Grayscale((3, 5, 4)),
    "grayscale rec601": lambda: Grayscale((3, 4, 5), "rec601"),
    "fourier": lambda: MaskedFourier((2, 5, 6), random_mask((5, 6), 0.5, seed=1)),
    "fourier per image": lambda: MaskedFourier((1, 6, 7), masks(BATCH, 1, 6, 7)),
    "hadamard": lambda: MaskedHadamard((2, 4, 8), random_mask((4, 8), 0.5, seed=1)),
    "hadamard per image": lambda: MaskedHadamard((3, 4, 8), masks(BATCH, 1, 4, 8)),
    "one coil": lambda: MultiCoilFourier((2, 5, 6), random_mask((5, 6), 0.5, seed=1)),
    "coils": lambda: MultiCoilFourier((1, 4, 5), random_mask((4, 5), 0.4, seed=1), maps(3, 4, 5)),
    "coils, masks and maps per image": lambda: MultiCoilFourier((1, 4, 3), masks(BATCH, 1, 4, 3), maps(BATCH, 2, 4, 3)),
    "coils of a blur": lambda: (
        MultiCoilFourier((1, 4, 3), random_mask((4, 3), 0.3, seed=1), maps(2, 4, 3))
        @ CircularConvolution((1, 4, 3), kernel(3, 3))
    ),
    "multiple of coils, weighted": lambda: Weighted(
        0.7 * MultiCoilFourier((2, 3, 4), random_mask((3, 4), 0.3, seed=1), maps(1, 3, 4)), weights(1, 2, 3, 4)
    ),
    "stack of coils": lambda: Stack([MultiCoilFourier((1, 3, 4), masks(1, 1, 3, 4)[0], maps(k, 3, 4)) for k in (1, 2)]),
    "function": lambda: FunctionOperator((1, 5, 6), gradient),
    "function with adjoint": lambda: FunctionOperator((1, 5, 4), lambda x: x.mT, lambda y: y.mT),
    "mask of blur": lambda: (
        Mask((1, 7, 6), random_mask((7, 6), 0.4, seed=0)) @ CircularConvolution((1, 7, 6), kernel(3, 3))
    ),
    "grayscale of resize": lambda: Grayscale((3, 4, 3)) @ Resize((3, 8, 6), 2, "area"),
    "multiple of resize": lambda: -1.7 * Resize((1, 8, 10), 2),
    "multiple of a multiple, per image": lambda: 0.5 * (3 * Mask((2, 5, 4), masks(BATCH, 2, 5, 4))),
    "multiple of convolution": lambda: 2 * Convolution((1, 6, 7), kernel(3, 3), "zero"),
    "stack of channels": lambda: Stack([Identity((3, 5, 4)), 0.3 * Grayscale((3, 5, 4))]),
    "stack of vectors": lambda: Stack([Resize((1, 6, 8), 2), Mask((1, 6, 8), masks(BATCH, 1, 6, 8))]),
    "mask of a stack": lambda: (
        Mask((2, 5, 4), masks(1, 2, 5, 4)[0])
        @ Stack([CircularConvolution((1, 5, 4), kernel(3, 3)), 2 * Identity((1, 5, 4))])
    ),
    "weighted": lambda: Weighted(Identity((2, 5, 4)), weights(2, 5, 4)),
    "weighted mask, per image": lambda: Weighted(Mask((1, 5, 4), masks(1, 1, 5, 4)), weights(BATCH, 1, 5, 4)),
    "weighted, one number per image": lambda: Weighted(Resize((1, 8, 6), 2), weights(BATCH, 1, 1, 1)),
    "weighted hadamard": lambda: Weighted(MaskedHadamard((1, 4, 8), masks(1, 1, 4, 8)), weights(1, 4, 8)),
    "weighted convolution": lambda: Weighted(CircularConvolution((1, 6, 5), kernel(3, 3)), weights(1, 6, 5)),
    "jpeg": lambda: JPEG((3, 8, 8), tables(3), (1, 1)),
    "jpeg, averaged chroma": lambda: JPEG((3, 16, 8), tables(3), (2, 1)),
    "jpeg, gray": lambda: JPEG((1, 8, 16), tables(1), (1, 1)),
    "mask of blur, both per image": lambda: (
        Mask((1, 6, 6), masks(BATCH, 1, 6, 6)) @ CircularConvolution((1, 6, 6), kernel(BATCH, 1, 3, 3))
    ),
}


def flat(y: Tensor) -> Tensor:
    """Measurements as real vectors `[B, m]`: of complex values real and imaginary parts in turn."""
    return (torch.view_as_real(y) if y.is_complex() else y).flatten(1)


def unflat(op: LinearOperator, vectors: Tensor) -> Tensor:
    """Measurements `[B, *out_shape]` of real vectors `[B, m]`."""
    if not op.complex_measurements:
        return vectors.reshape(-1, *op.out_shape)
    return torch.view_as_complex(vectors.reshape(-1, *op.out_shape, 2))


def dense(op: LinearOperator, image: int = 0) -> Tensor:
    """The real matrix [m, n] of the operator for one image of the batch: forward on the identity basis."""
    size = torch.Size(op.in_shape).numel()
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *op.in_shape)
    return flat(op.select([image] * size)(basis)).T
