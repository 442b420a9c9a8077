"""Training samples: which crops come, at which scale, and that nothing but (seed, index) decides."""

from __future__ import annotations

import contextlib
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from training_cases import coordinates

from invsolve.data.crops import Crops, scaled_crop, to_unit


def a_few_crops(seed: int = 0) -> Crops:
    return Crops([([coordinates(20, 30, i) for i in range(5)], 1.0), ([coordinates(25, 18, 9)], 2.0)], 12, seed)


def collect(crops: Crops, first: int, batch: int, count: int, workers: int = 0) -> list[list[torch.Tensor]]:
    with contextlib.closing(crops.batches(first, batch, workers)) as batches:
        return [next(batches) for _ in range(count)]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_do_not_change_the_samples(monkeypatch, start):
    """Also where processes cannot be forked."""
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: [start])
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", multiprocessing.get_context(start))
    alone, shared = collect(a_few_crops(), 0, 6, 5), collect(a_few_crops(), 0, 6, 5, workers=1)
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))
    assert alone[4][2].tolist() == list(range(24, 30))


FAILS = """
import contextlib, numpy as np
from invsolve.data.crops import Crops
crops = Crops([([np.zeros((3, 9, 9), np.uint8)], 1.0)], 8, 0)
with contextlib.closing(crops.batches(0, 2, workers=1)) as batches:
    next(batches)
    raise RuntimeError("failed")
"""


def test_workers_end_with_a_program_that_fails():
    """Though they do not heed the signal by which Python ends them."""
    arguments = [sys.executable, "-c", FAILS]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith("RuntimeError: failed\n")


def test_a_restart_goes_on_with_the_next_sample():
    whole, rest = collect(a_few_crops(), 0, 6, 5), collect(a_few_crops(), 18, 6, 2)
    assert all(same(a, b) for a, b in zip(whole[3:], rest, strict=True))


def test_the_batch_size_does_not_change_the_samples():
    small, large = collect(a_few_crops(), 0, 3, 4), collect(a_few_crops(), 0, 12, 1)
    joined = [torch.cat(parts) for parts in zip(*small, strict=True)]
    assert same(joined, large[0])


def test_another_seed_or_index_gives_another_sample():
    _, first, *_ = a_few_crops(0)[7]
    assert not torch.equal(first, a_few_crops(1)[7][1])
    assert not torch.equal(first, a_few_crops(0)[8][1])
    assert torch.equal(first, a_few_crops(0)[7][1])


def test_scalars_are_standard_normal():
    normals = torch.stack([a_few_crops()[i][1] for i in range(4000)]).double()
    n = normals.numel()
    assert normals.mean().abs() < 5 / n**0.5
    assert (normals.var() - 1).abs() < 5 * (2 / n) ** 0.5
    assert (normals.T.corrcoef() - torch.eye(4)).abs().max() < 5 / 4000**0.5


def test_crops_and_flips_lie_inside_their_picture():
    """The coordinates in the pixels are consecutive, within bounds, and every position and both flips occur."""
    crops, corners, flips = Crops([([coordinates(14, 15)], 1.0)], 12, 0), set(), 0
    for i in range(600):
        rows, columns, _ = crops[i][0].numpy().astype(int)
        flipped = columns[0, 0] > columns[0, 1]
        columns = columns[:, ::-1] if flipped else columns
        expected = np.mgrid[rows[0, 0] : rows[0, 0] + 12, columns[0, 0] : columns[0, 0] + 12]
        assert (rows == expected[0]).all()
        assert (columns == expected[1]).all()
        assert rows.max() < 14
        assert columns.max() < 15
        corners.add((rows[0, 0], columns[0, 0]))
        flips += flipped
    assert corners == {(i, j) for i in range(3) for j in range(4)}
    assert abs(flips - 300) < 5 * (600 / 4) ** 0.5


def test_folders_come_by_weight_and_their_pictures_evenly():
    folders = [([coordinates(12, 12, k) for k in range(3)], 3.0), ([coordinates(12, 12, 9)], 1.0)]
    crops, n = Crops(folders, 12, 0), 4000
    found = torch.tensor([int(crops[i][0][2, 0, 0]) for i in range(n)])
    for picture, share in [(0, 0.25), (1, 0.25), (2, 0.25), (9, 0.25)]:
        assert abs((found == picture).sum().item() - n * share) < 5 * (n * share * (1 - share)) ** 0.5
    crops = Crops([(pictures, weight) for (pictures, _), weight in zip(folders, (9.0, 1.0), strict=True)], 12, 0)
    second = sum(int(crops[i][0][2, 0, 0]) == 9 for i in range(n))
    assert abs(second - 0.1 * n) < 5 * (n * 0.1 * 0.9) ** 0.5


@pytest.mark.parametrize("size", [(8, 30), (30, 8), (5, 4), (1, 1)], ids=str)
def test_small_pictures_are_extended_by_reflection(size):
    picture = coordinates(*size)
    crop = Crops([([picture], 1.0)], 12, 0)[0][0]
    assert crop.shape == (3, 12, 12)
    rows, columns, _ = crop.numpy().astype(int)
    for values, n in ((rows[:, 0], size[0]), (columns[0], size[1])):
        assert values.max() < n
        if n < 12:  # symmetric extension repeats the border pixel, so neighbours differ by at most 1
            assert set(values) == set(range(n))
            assert np.abs(np.diff(values)).max() <= 1


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, -2.0), (float("nan"), 1.0), (float("inf"), 1.0)], ids=str)
def test_weights_must_be_positive(weights):
    with pytest.raises(ValueError, match="positive, finite weight"):
        Crops([([coordinates(12, 12)], weight) for weight in weights], 12, 0)


def labelled(zoom: tuple[float, float] = (1.0, 1.0)) -> Crops:
    folders = [([coordinates(20, 30, i) for i in range(5)], 1.0), ([coordinates(25, 18, 5)], 2.0)]
    return Crops(folders, 12, 0, [[4, 3, 2, 1, 0], [6]], 7, zoom)


def test_every_sample_has_the_class_of_its_picture():
    classes = {0: 4, 1: 3, 2: 2, 3: 1, 4: 0, 5: 6}
    samples = [labelled()[i] for i in range(60)]
    assert {int(picture[2, 0, 0]) for picture, *_ in samples} == set(classes)
    assert all(label == classes[int(picture[2, 0, 0])] for picture, _, _, label in samples)
    assert all(a_few_crops()[i][3] == -1 for i in range(5))
    for i in range(20):  # and is otherwise the same as without
        assert torch.equal(labelled()[i][0][:2], a_few_crops()[i][0][:2])
        assert torch.equal(labelled()[i][1], a_few_crops()[i][1])


def ramp(height: int, width: int) -> np.ndarray:
    """Brightness grows by 2 a pixel downwards (first channel) and to the right (second)."""
    return 2 * coordinates(height, width)


def test_scales_are_log_uniform_and_every_place_is_shown():
    """Of a ramp a crop of scale f has steps of 2/f; where it begins says from which place it is."""
    crops, steps, starts = Crops([([ramp(100, 120)], 1.0)], 24, 0, zoom=(0.25, 1.0)), [], []
    for i in range(1000):
        crop = crops[i][0].numpy().astype(float)
        crop = crop[:, :, ::-1] if crop[1, 0, 0] > crop[1, 0, -1] else crop
        down, right = (np.polyfit(np.arange(22), crop[c].mean(1 - c)[1:-1], 1)[0] for c in (0, 1))
        assert abs(down - right) < 0.15
        steps.append((down + right) / 2)
        side, centre = 24 * steps[-1] / 2, crop[:2, 11:13, 11:13].mean((1, 2)) / 2 + 0.5
        starts.append((centre - side / 2) / (np.array([100, 120]) - side))
    position = np.sort(np.log(np.array(steps) / 2) / np.log(4))  # 0 for scale 1, 1 for scale 1/4
    assert np.abs(position - np.linspace(0, 1, 1000)).max() < 2 / 1000**0.5  # Kolmogorov-Smirnov at 0.07 %
    starts = np.sort(np.array(starts)[np.array(steps) < 6], axis=0)  # with room to move
    assert np.abs(starts - np.linspace(0, 1, len(starts))[:, None]).max() < 2 / len(starts) ** 0.5


def test_a_scaled_crop_is_cut_from_the_antialiased_picture():
    """With the scale that leaves just the crop, it is the whole picture resized by Pillow."""
    picture = np.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(picture.transpose(1, 2, 0)).resize((20, 20), Image.Resampling.BICUBIC))
    expected = expected.transpose(2, 0, 1).astype(int)
    crops = Crops([([picture], 1.0)], 20, 0, zoom=(0.1, 0.1))  # too small: the picture would not hold a crop
    for i in range(8):
        crop = crops[i][0].numpy().astype(int)
        assert min(np.abs(crop - expected).max(), np.abs(crop[:, :, ::-1] - expected).max()) <= 1


def test_pixels_around_a_scaled_crop_count_as_in_the_whole_picture():
    picture = np.random.default_rng(1).integers(0, 256, (3, 200, 200), dtype=np.uint8)
    whole = Image.fromarray(picture.transpose(1, 2, 0))
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    for scale in (0.9, 0.5, 0.3):
        crop = scaled_crop(picture, 30, scale, rng).astype(int)
        top, left = (again.uniform(0, 200 - 30 / scale) for _ in range(2))
        box = (left, top, left + 30 / scale, top + 30 / scale)
        expected = np.asarray(whole.resize((30, 30), Image.Resampling.BICUBIC, box)).transpose(2, 0, 1).astype(int)
        assert np.abs(crop - expected).max() <= 1  # Pillow's fixed-point weights


def test_a_picture_smaller_than_the_crop_is_not_scaled():
    crops = Crops([([coordinates(8, 30)], 1.0)], 12, 0, zoom=(0.3, 0.5))
    for i in range(5):  # neighbouring columns differ by 1, as in the picture
        columns = crops[i][0][1].int()
        assert (columns.diff(dim=1).abs() == 1).all()


def test_unit_scale():
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8), torch.device("cpu")).tolist() == [-1.0, 1.0]
