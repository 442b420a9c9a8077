"""Blurs against SciPy and against their written-out definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from operator_cases import BATCH, kernel, random
from scipy import ndimage, signal

from operators import (
    BlurDecimate,
    CircularConvolution,
    Convolution,
    GaussianBlur,
    Resize,
    blur,
    gaussian_kernel,
    motion_kernel,
    without_zero_border,
)
from operators.boundary import margins

SCIPY_MODES = {"reflect": "reflect", "replicate": "nearest", "zero": "constant", "circular": "wrap"}


@pytest.mark.parametrize("boundary", SCIPY_MODES)
def test_gaussian_is_scipys(boundary):
    x = random(1, 1, 13, 10)
    ours = GaussianBlur((1, 13, 10), 1.5, 13, boundary).double()(x)[0, 0]
    other = ndimage.gaussian_filter(x[0, 0].numpy(), 1.5, mode=SCIPY_MODES[boundary], radius=6)
    np.testing.assert_allclose(ours, other, atol=1e-13)


@pytest.mark.parametrize("boundary", SCIPY_MODES)
@pytest.mark.parametrize("taps", [(3, 5), (5, 1), (7, 7)])
def test_blur_is_scipys_convolution(boundary, taps):
    x, k = random(1, 1, 9, 7), random(*taps, seed=1)
    ours = blur((1, 9, 7), k, boundary).double()(x)[0, 0]
    np.testing.assert_allclose(
        ours, ndimage.convolve(x[0, 0].numpy(), k.numpy(), mode=SCIPY_MODES[boundary]), atol=1e-13
    )


@pytest.mark.parametrize("taps", [(3, 3), (4, 4), (2, 5), (6, 1), (9, 8)])
def test_centre_of_odd_and_even_kernels(taps):
    """A bright pixel becomes the kernel, its tap (h // 2, w // 2) on that pixel, whatever the boundary."""
    k = random(*taps, seed=1)
    x = torch.zeros(1, 1, 21, 20, dtype=torch.float64)
    x[..., 10, 9] = 1
    expected = torch.zeros(21, 20, dtype=torch.float64)
    top, left = 10 - taps[0] // 2, 9 - taps[1] // 2
    expected[top : top + taps[0], left : left + taps[1]] = k
    for boundary in SCIPY_MODES:
        assert (blur((1, 21, 20), k, boundary).double()(x)[0, 0] - expected).abs().max() < 1e-14


def test_zero_boundary_is_the_central_part_of_the_full_convolution():
    x, k = random(1, 1, 8, 9), random(4, 6, seed=1)
    full = signal.convolve2d(x[0, 0].numpy(), k.numpy())
    np.testing.assert_allclose(blur((1, 8, 9), k, "zero").double()(x)[0, 0], full[2:10, 3:12], atol=1e-13)


@pytest.mark.parametrize("taps", [(3, 4), (5, 1), (8, 7)])
def test_valid_is_what_no_boundary_rule_touches(taps):
    """Of any larger picture y is the blurred part whose neighbourhood is whole, `margins` away from its edges."""
    x, k = random(1, 1, 9, 7), random(*taps, seed=1)
    y = blur((1, 9, 7), k, "valid").double()(x)[0, 0]
    np.testing.assert_allclose(y, signal.convolve2d(x[0, 0].numpy(), k.numpy(), mode="valid"), atol=1e-13)
    (top, bottom), (left, right) = (margins(n) for n in taps)
    wrapped = blur((1, 9, 7), k, "circular").double()(x)[0, 0]
    np.testing.assert_allclose(y, wrapped[top : 9 - bottom, left : 7 - right], atol=1e-13)


def test_a_valid_gaussian_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="kernel has 9 taps but the image only 8 pixels a side"):
        GaussianBlur((1, 12, 8), 1, 9, "valid")


def test_a_kernel_without_its_zero_border_blurs_alike():
    k = torch.zeros(9, 8)
    k[2:6, 3:8] = random(4, 5, seed=1)
    small = without_zero_border(k)
    assert small.shape == (5, 8)  # 2 rows of zeros above, 3 below, none to the right
    x = random(1, 1, 12, 11)
    assert (blur((1, 12, 11), small).double()(x) - blur((1, 12, 11), k).double()(x)).abs().max() < 1e-7
    assert torch.equal(without_zero_border(torch.zeros(3, 3)), torch.zeros(3, 3))


def test_gaussian_blur_is_convolution_by_the_gaussian_kernel():
    x = random(2, 3, 20, 18)
    for boundary in (*SCIPY_MODES, "valid"):
        other = blur((3, 20, 18), gaussian_kernel(9, 1.3), boundary).double()
        assert (GaussianBlur((3, 20, 18), 1.3, 9, boundary).double()(x) - other(x)).abs().max() < 1e-13


def test_one_kernel_for_each_image():
    x, kernels = random(BATCH, 2, 8, 7), kernel(BATCH, 1, 3, 4)
    for cls, arguments in ((CircularConvolution, ()), (Convolution, ("replicate",)), (BlurDecimate, (1,))):
        together = cls((2, 8, 7), kernels, *arguments).double()(x)
        for i in range(BATCH):
            alone = cls((2, 8, 7), kernels[i, 0], *arguments).double()(x[i : i + 1])
            assert (together[i] - alone[0]).abs().max() < 1e-14


def test_decimation_keeps_the_first_pixel_of_each_block():
    x, k = random(2, 1, 12, 9), kernel(4, 3)
    blurred = CircularConvolution((1, 12, 9), k).double()(x)
    assert (BlurDecimate((1, 12, 9), k, 3).double()(x) - blurred[..., ::3, ::3]).abs().max() < 1e-14


@pytest.mark.parametrize("size", [9, 16, 61])
@pytest.mark.parametrize("intensity", [0, 0.5, 1])
def test_motion_kernel(size, intensity):
    for seed in range(5):
        k = motion_kernel(size, intensity, seed)
        assert k.shape == (size, size)
        assert k.dtype == torch.float64
        assert abs(float(k.sum()) - 1) < 1e-12
        assert k.min() >= 0
        place = torch.arange(size, dtype=torch.float64)
        assert abs(float(k.sum(1) @ place) - size // 2) < 1e-9
        assert abs(float(k.sum(0) @ place) - size // 2) < 1e-9
        assert torch.equal(k, motion_kernel(size, intensity, seed))
        assert not torch.allclose(k, motion_kernel(size, intensity, seed + 1))


def test_intensity_bends_the_motion():
    """A straight stroke has all its mass on a line; the smaller axis of inertia grows with the intensity."""

    def straightness(intensity: float, seed: int) -> float:
        k = motion_kernel(61, intensity, seed)
        place = torch.stack(torch.meshgrid(*[torch.arange(61.0, dtype=torch.float64) - 30] * 2, indexing="ij"))
        small, large = torch.linalg.eigvalsh(torch.einsum("ihw,jhw,hw->ij", place, place, k))
        return float(small / large)

    mean = [np.mean([straightness(i, seed) for seed in range(20)]) for i in (0, 0.3, 1)]
    assert mean[0] < 0.005
    assert mean[0] < mean[1] < mean[2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CircularConvolution((1, 8, 9), torch.ones(9, 9)), "kernel is 9x9 but the image is only 8x9"),
        (lambda: CircularConvolution((3, 8, 8), torch.ones(2, 3, 3)), "kernel has 2 channels but the image has 3"),
        (lambda: CircularConvolution((1, 8, 8), torch.zeros(3, 3)), "kernel is zero everywhere"),
        (
            lambda: CircularConvolution((1, 8, 8), torch.full((3, 3), torch.nan)),
            "kernel has values that are not finite",
        ),
        (lambda: CircularConvolution((1, 8, 8), torch.ones(3)), "kernel is a tensor of 1 dimensions but must be"),
        (lambda: CircularConvolution((1, 8, 8), np.ones((3, 3))), "kernel is a ndarray but must be a tensor"),
        (
            lambda: Convolution((1, 8, 8), torch.ones(3, 3), "mirror"),
            "boundary is 'mirror' but must be one of reflect, re",
        ),
        (lambda: blur((1, 8, 8), torch.ones(3, 3), "wrap"), "boundary is 'wrap' but must be one of .*circular"),
        (lambda: GaussianBlur((1, 8, 8), 0), "std of the blur is 0 but must be positive"),
        (
            lambda: GaussianBlur((1, 8, 8), 1, 2.5),
            "size of the blur kernel is 2.5 but must be an integer of at least 1",
        ),
        (lambda: BlurDecimate((1, 8, 9), torch.ones(3, 3), 2), "factor 2 does not divide the image size 8x9"),
        (lambda: BlurDecimate((1, 8, 8), torch.ones(3, 3), 0), "factor is 0 but must be an integer of at least 1"),
        (lambda: motion_kernel(2, 0.5, 0), "size of the motion kernel is 2 but must be an integer of at least 3"),
        (lambda: motion_kernel(9, 2, 0), "intensity is 2 but must be between 0 and 1"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_may_be_numpys_integers():
    x = random(1, 1, 12, 8)
    for make in (
        lambda n: Resize((1, 12, 8), n(2)),
        lambda n: BlurDecimate((1, 12, 8), torch.ones(3, 3), n(2)),
        lambda n: GaussianBlur((1, 12, 8), 1.5, n(5)),
        lambda n: CircularConvolution((1, 12, 8), motion_kernel(n(5), 0.5, 0)),
    ):
        assert torch.equal(make(np.int64).double()(x), make(int).double()(x))
