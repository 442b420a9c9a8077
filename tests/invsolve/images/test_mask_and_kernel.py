"""Masks and kernels: what is read is what is in the file, and what is neither is refused."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from PIL import Image

from invsolve.images.mask_and_kernel import read_kernel, read_mask, read_values


def test_masks_are_white_where_observed(tmp_path):
    mask = np.zeros((4, 6), np.uint8)
    mask[:, :2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", mask > 0)
    np.save(tmp_path / "bytes.npy", mask)
    np.save(tmp_path / "floats.npy", mask.astype(float))
    for name in ("mask.png", "mask.npy", "bytes.npy", "floats.npy"):
        assert read_mask(tmp_path / name).tolist() == (mask / 255).tolist()


@pytest.mark.parametrize(
    ("values", "found"), [([0, 254], "0..254"), ([-1, 255], "-1..255"), ([0.5, 255], "0.5..255"), ([-1, 1], "-1..1")]
)
def test_masks_of_an_unknown_range_are_refused(tmp_path, values, found):
    np.save(tmp_path / "mask.npy", np.array([values]))
    with pytest.raises(ValueError, match=rf"mask\.npy: values must lie in 0\.\.1, .* found {re.escape(found)}$"):
        read_mask(tmp_path / "mask.npy")


def test_what_is_transparent_is_black(tmp_path):
    alpha = np.zeros((5, 5), np.uint8)
    alpha[1, 2], alpha[3, 3] = 255, 85
    picture = np.stack([np.full_like(alpha, 255), alpha], axis=2)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert np.abs(read_values(tmp_path / "a.png") - alpha / 255).max() < 1e-6
    assert np.abs(read_kernel(tmp_path / "a.png").numpy() - alpha / 340).max() < 1e-6
    assert read_mask(tmp_path / "a.png").nonzero().tolist() == [[1, 2]]


def test_photographs_and_black_masks_are_refused(tmp_path):
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (8, 1))).save(tmp_path / "photo.png")
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match="80% are neither"):
        read_mask(tmp_path / "photo.png")
    with pytest.raises(ValueError, match="no pixel is white"):
        read_mask(tmp_path / "black.png")


def test_kernels_sum_to_one(tmp_path):
    kernel = np.array([[0.0, 2.0], [6.0, 0.0]])
    np.save(tmp_path / "k.npy", kernel)
    assert read_kernel(tmp_path / "k.npy").tolist() == [[0, 0.25], [0.75, 0]]
    np.save(tmp_path / "k.npy", -kernel)
    with pytest.raises(ValueError, match="its sum is -8 but must be positive"):
        read_kernel(tmp_path / "k.npy")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3),
        np.zeros((2, 2), complex),
        np.full((2, 2), np.nan),
        np.array([["a"]]),
        np.zeros((0, 2)),
        np.ones((2, 2), "timedelta64[s]"),
    ],
)
def test_arrays_that_are_no_mask_or_kernel_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"a\.npy: expected"):
        read_values(tmp_path / "a.npy")


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_refused_without_a_warning(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1e300, 1.0]]))
    with pytest.raises(ValueError, match=r"a\.npy: expected finite real numbers, below 3.4e\+38"):
        read_values(tmp_path / "a.npy")


def test_an_archive_of_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", np.ones((2, 2)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"a\.npy: cannot be read as a NumPy array"):
        read_values(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "fields",
    [
        "{'descr': '<f8', ",
        "{1: 2, 'a': 3}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 4)}",  # more than any memory
    ],
    ids=["endless", "no header", "too large"],
)
def test_damaged_arrays_are_refused(tmp_path, fields):
    header = f"{fields}\n".encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(128))
    with pytest.raises(ValueError, match=r"a\.npy: cannot be read as a NumPy array"):
        read_values(tmp_path / "a.npy")


def test_pickled_arrays_are_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read as a NumPy array"):
        read_values(tmp_path / "a.npy")
