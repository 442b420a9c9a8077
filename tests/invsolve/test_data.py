"""Training pictures: which samples come, from where, and that nothing but (seed, index) decides."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from invsolve.training.commands import center_crops, read_data
from invsolve.training.config import RunConfig
from invsolve.training.data import Crops, SampleNoise, load_pictures, to_unit


def coordinates(height: int, width: int, picture: int = 0) -> np.ndarray:
    """A picture whose pixels tell where they are: row, column and the picture's number, ``[3, H, W]`` uint8."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, picture)]).astype(np.uint8)


def write(folder: Path, name: str, array: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.transpose(1, 2, 0) if array.ndim == 3 else array).save(folder / name)
    return folder / name


def a_few_crops(seed: int = 0) -> Crops:
    return Crops([([coordinates(20, 30, i) for i in range(5)], 1.0), ([coordinates(25, 18, 9)], 2.0)], 12, seed)


def collect(crops: Crops, first: int, batch: int, count: int, workers: int = 0) -> list[list[torch.Tensor]]:
    batches = crops.batches(first, batch, workers)
    return [next(batches) for _ in range(count)]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_workers_do_not_change_the_samples():
    alone, shared = collect(a_few_crops(), 0, 6, 5), collect(a_few_crops(), 0, 6, 5, workers=2)
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))
    assert alone[4][2].tolist() == list(range(24, 30))


def test_a_restart_goes_on_with_the_next_sample():
    whole, rest = collect(a_few_crops(), 0, 6, 5), collect(a_few_crops(), 18, 6, 2)
    assert all(same(a, b) for a, b in zip(whole[3:], rest, strict=True))


def test_the_batch_size_does_not_change_the_samples():
    small, large = collect(a_few_crops(), 0, 3, 4), collect(a_few_crops(), 0, 12, 1)
    joined = [torch.cat(parts) for parts in zip(*small, strict=True)]
    assert same(joined, large[0])


def test_another_seed_or_index_gives_another_sample():
    _, first, _ = a_few_crops(0)[7]
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


def test_folders_are_drawn_by_weight_and_their_pictures_evenly():
    folders = [([coordinates(12, 12, k) for k in range(3)], 3.0), ([coordinates(12, 12, 9)], 1.0)]
    crops, n = Crops(folders, 12, 0), 4000
    drawn = torch.tensor([int(crops[i][0][2, 0, 0]) for i in range(n)])
    for picture, share in [(0, 0.25), (1, 0.25), (2, 0.25), (9, 0.25)]:
        assert abs((drawn == picture).sum().item() - n * share) < 5 * (n * share * (1 - share)) ** 0.5
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


def test_folders_are_read_in_order_and_in_colour(tmp_path):
    colour, gray = coordinates(6, 7, 3), np.arange(42, dtype=np.uint8).reshape(6, 7)
    write(tmp_path / "b", "1.png", colour)
    write(tmp_path / "a", "2.PNG", gray)
    write(tmp_path, "c.png", (gray.astype(np.uint16) << 8) + gray)  # 16 bits
    (tmp_path / "notes.txt").write_text("no picture")
    first, second, third = load_pictures(tmp_path)
    assert np.array_equal(first, np.stack([gray] * 3))
    assert np.array_equal(second, colour)
    assert np.array_equal(third, np.stack([gray] * 3))


def test_a_folder_without_pictures_or_with_a_broken_one_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no pictures below .*empty"):
        load_pictures(tmp_path / "empty")
    (tmp_path / "broken.png").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"broken\.png: cannot be read as a picture"):
        load_pictures(tmp_path)


def zipped(path: Path, folder: Path, *more: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((f for f in folder.rglob("*") if f.is_file()), reverse=True):
            archive.write(file, str(file.relative_to(folder)))
        for name, content in more:
            archive.writestr(name, content)
    return path


def test_a_zip_of_pictures_is_as_good_as_their_folder(tmp_path):
    folder = tmp_path / "folder"
    for name in ("b/1.png", "a.png", "a/2.PNG", "a-b.png"):
        write(
            (folder / name).parent, Path(name).name, coordinates(16, 17, len(name) * 10 + len(list(folder.rglob("*"))))
        )
    extras = ("__MACOSX/._a.png", b"no picture"), ("notes.txt", b"no picture")
    path = zipped(tmp_path / "pictures.zip", folder, *extras)
    inside, outside = load_pictures(path), load_pictures(folder)
    assert len(inside) == 4
    assert all(np.array_equal(a, b) for a, b in zip(inside, outside, strict=True))
    config = RunConfig(crop=8, holdout=1)
    left, right = (read_data([f"{source}:2"], config)[0] for source in (path, folder))
    assert all(torch.equal(left[i][0], right[i][0]) for i in range(20))


def test_a_zip_without_pictures_or_with_a_broken_one_is_refused(tmp_path):
    folder = tmp_path / "folder"
    write(folder, "1.png", coordinates(16, 17))
    with pytest.raises(ValueError, match=r"broken\.zip/2\.png: cannot be read as a picture"):
        load_pictures(zipped(tmp_path / "broken.zip", folder, ("2.png", b"text")))
    (folder / "1.png").rename(folder / "1.txt")
    with pytest.raises(ValueError, match=r"no pictures in .*empty\.zip"):
        load_pictures(zipped(tmp_path / "empty.zip", folder))
    (tmp_path / "no.zip").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"no\.zip: cannot be read as a zip file of pictures"):
        load_pictures(tmp_path / "no.zip")


def test_folders_and_weights_of_the_command_line(tmp_path):
    for folder, count in (("faces", 5), ("photos:2", 4)):
        for i in range(count):
            write(tmp_path / folder, f"{i}.png", coordinates(16, 16, 10 * count + i))
    config = RunConfig(crop=8, holdout=2)
    crops, held_out = read_data([f"{tmp_path}/faces:3", f"{tmp_path}/photos:2"], config)
    assert [p[2, 0, 0] for p in held_out] == [53, 54]  # the last of the first folder
    assert [p[2, 0, 0] for pictures in crops.folders for p in pictures] == [50, 51, 52, 40, 41]
    assert crops.cumulative.tolist() == [0.75, 1.0]  # photos:2 is the name of a folder, of weight 1
    assert read_data([f"{tmp_path}/faces"], RunConfig(crop=8, holdout=0))[1] == []


def test_data_that_is_not_there_is_refused(tmp_path):
    write(tmp_path / "one", "1.png", coordinates(16, 16))
    with pytest.raises(ValueError, match=r"no folder or zip file .*gone$"):
        read_data([f"{tmp_path}/gone:2"], RunConfig())
    with pytest.raises(ValueError, match="has 1 pictures but 1 are to be held out"):
        read_data([str(tmp_path / "one")], RunConfig(holdout=1))


def test_central_crops_for_validation():
    pictures = [coordinates(16, 20, 1), coordinates(7, 20, 2)]
    images = center_crops(pictures, 8, torch.device("cpu"))
    assert images.shape == (1, 3, 8, 8)  # of the one that is large enough
    assert images[0, 0, :, 0] == pytest.approx((torch.arange(8) + 4) / 127.5 - 1)
    assert images[0, 1, 0] == pytest.approx((torch.arange(8) + 6) / 127.5 - 1)
    assert center_crops(pictures, 32, torch.device("cpu")).shape == (0, 3, 32, 32)


def test_unit_scale():
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8), torch.device("cpu")).tolist() == [-1.0, 1.0]


def test_noise_belongs_to_the_sample():
    together, alone = SampleNoise(0, [3, 4, 5], torch.device("cpu")), SampleNoise(0, [5], torch.device("cpu"))
    for shape in ((2, 3), (4,)):  # successive calls go on in each stream
        a, b = together(shape), alone(shape)
        assert torch.equal(a[2], b[0])
        assert not torch.equal(a[0], a[2])
    assert not torch.equal(
        SampleNoise(1, [5], torch.device("cpu"))((9,)), SampleNoise(0, [5], torch.device("cpu"))((9,))
    )
