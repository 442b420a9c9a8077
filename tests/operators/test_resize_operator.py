"""Filter weights against other implementations, where the definitions coincide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from operator_cases import random
from PIL import Image
from torch.nn import functional

from operators import GaussianBlur, Resize, SeparableOperator
from operators.resize import resize_matrix
from operators.separable import check_maps


def interior(factor: int, radius: int) -> slice:
    """The output pixels whose filter does not reach over the edge."""
    return slice(radius, -radius) if factor > 1 else slice(None)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_cubic_is_torchs_antialiased_bicubic_inside(factor):
    x = random(1, 2, 12 * factor, 15 * factor)
    other = functional.interpolate(x, size=(12, 15), mode="bicubic", antialias=True)
    inside = (..., interior(factor, 2), interior(factor, 2))
    assert (Resize((2, 12 * factor, 15 * factor), factor).double()(x) - other)[inside].abs().max() < 1e-6


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize(("name", "resample", "radius"), [("cubic", 3, 2), ("lanczos3", 1, 3)])
def test_filters_are_pillows_inside(factor, name, resample, radius):
    x = random(14 * factor, 16 * factor).numpy().astype(np.float32)
    other = torch.from_numpy(np.array(Image.fromarray(x).resize((16, 14), resample)))
    ours = Resize((1, *x.shape), factor, name)(torch.from_numpy(x)[None, None])[0, 0]
    inside = (interior(factor, radius), interior(factor, radius))
    assert (ours - other)[inside].abs().max() < 1e-5


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_area_is_the_mean_of_each_block(factor):
    x = random(1, 3, 4 * factor, 6 * factor)
    assert (
        Resize((3, 4 * factor, 6 * factor), factor, "area").double()(x) - functional.avg_pool2d(x, factor)
    ).abs().max() < 1e-14


def test_cubic_is_matlabs_imresize():
    """The weights of imresize(x, 0.5), and at the edge the same after symmetric reflection."""
    weights = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    matrix = resize_matrix(16, 2)
    np.testing.assert_allclose(matrix[3, 3:11], weights, atol=1e-15)
    np.testing.assert_allclose(
        matrix[0, :5], [*(weights[3:5] + weights[2::-1][:2]), 29 / 256 - 3 / 256, -9 / 256, -3 / 256], atol=1e-15
    )


@pytest.mark.parametrize("name", ["cubic", "lanczos3", "area"])
@pytest.mark.parametrize(("size", "factor"), [(8, 1), (9, 2), (10, 4), (7, 7), (5, 3)])
def test_weights_sum_to_one_at_any_size(name, size, factor):
    matrix = resize_matrix(size, factor, name)
    assert matrix.shape == (-(-size // factor), size)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-14)


def test_factor_one_is_the_identity():
    for name in ("cubic", "lanczos3", "area"):
        np.testing.assert_allclose(resize_matrix(6, 1, name), np.eye(6), atol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "factor is 0 but must be an integer from 1 to 8"),
        ((9,), "factor is 9 but must be an integer from 1 to 8"),
        ((1.5,), "factor is 1.5 but must be an integer"),
        ((2, "bicubic"), "filter is 'bicubic' but must be one of cubic, lanczos3, area"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Resize((3, 8, 8), *arguments)


@pytest.mark.parametrize(
    ("make", "size", "gib"),
    [
        (lambda: Resize((3, 160_000, 8), 4), "160000x8", 161),  # 12 bytes a number of A, U [40000²] and V^T
        (lambda: Resize((3, 8, 160_000), 4), "8x160000", 161),
        (lambda: GaussianBlur((1, 40_000, 8), 3.0), "40000x8", 54),
        (lambda: SeparableOperator((1, 30_000, 4), np.broadcast_to(0.0, (30_000, 30_000)), np.eye(4)), "30000x4", 31),
    ],
)
def test_a_long_narrow_image_is_refused_before_its_maps_are_made(make, size, gib):
    message = f"the maps of a {size} image would take {gib} GiB but may take 4: crop the picture, or cut it into tiles"
    with pytest.raises(ValueError, match=message):
        make()


def test_maps_of_up_to_4_gib_are_allowed():
    rows = 3000  # 12 (2 * 3000 * 58152 + 3000²) bytes: 4 GiB but for 23 kB
    check_maps((rows, 58_152), (1, 1))
    with pytest.raises(ValueError, match="would take 5 GiB but may take 4"):
        check_maps((rows, 58_160), (1, 1))
    check_maps((3024, 12_096), (4032, 16_128))  # 12 megapixels, enlarged 4 times
