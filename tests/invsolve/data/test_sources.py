"""Training pictures: where they are read from, and that each is decoded once."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import coordinates, write_picture

from invsolve.data import sources as module
from invsolve.data.crops import Crops
from invsolve.data.sources import Source, load_pictures
from invsolve.data.training_set import HeldOut, TrainingSet, center_crops
from invsolve.specs.recipe import RunConfig


def load(path: Path) -> list[np.ndarray]:
    return load_pictures(Source(path))


def read(data: list[str], config: RunConfig, cache: Path) -> tuple[Crops, list[HeldOut]]:
    return TrainingSet(data).read(config, cache, torch.device("cpu"))


def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_folders_are_read_in_order_and_in_colour(tmp_path):
    colour, gray = coordinates(6, 7, 3), np.arange(42, dtype=np.uint8).reshape(6, 7)
    write_picture(tmp_path / "b", "1.png", colour)
    write_picture(tmp_path / "a", "2.PNG", gray)
    write_picture(tmp_path, "c.png", (gray.astype(np.uint16) << 8) + gray)  # 16 bits
    (tmp_path / "notes.txt").write_text("no picture")
    first, second, third = load(tmp_path)
    assert np.array_equal(first, np.stack([gray] * 3))
    assert np.array_equal(second, colour)
    assert np.array_equal(third, np.stack([gray] * 3))


def test_a_folder_without_pictures_or_with_a_broken_one_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no pictures below .*empty"):
        load(tmp_path / "empty")
    (tmp_path / "broken.png").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"broken\.png: cannot be read as a picture"):
        load(tmp_path)


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
        write_picture(
            (folder / name).parent, Path(name).name, coordinates(16, 17, len(name) * 10 + len(list(folder.rglob("*"))))
        )
    extras = ("__MACOSX/._a.png", b"no picture"), ("notes.txt", b"no picture")
    path = zipped(tmp_path / "pictures.zip", folder, *extras)
    inside, outside = load(path), load(folder)
    assert len(inside) == 4
    assert same(inside, outside)
    config = RunConfig(crop=8, holdout=1)
    left, right = (read([f"{source}:2"], config, tmp_path / "cache")[0] for source in (path, folder))
    assert all(torch.equal(left[i][0], right[i][0]) for i in range(20))


def test_a_zip_without_pictures_or_with_a_broken_one_is_refused(tmp_path):
    folder = tmp_path / "folder"
    write_picture(folder, "1.png", coordinates(16, 17))
    with pytest.raises(ValueError, match=r"broken\.zip/2\.png: cannot be read as a picture"):
        load(zipped(tmp_path / "broken.zip", folder, ("2.png", b"text")))
    (folder / "1.png").rename(folder / "1.txt")
    with pytest.raises(ValueError, match=r"no pictures in .*empty\.zip"):
        load(zipped(tmp_path / "empty.zip", folder))
    (tmp_path / "no.zip").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"no\.zip: cannot be read as a zip file of pictures"):
        load(tmp_path / "no.zip")


def test_folders_and_weights_of_the_command_line(tmp_path):
    for folder, count in (("faces", 5), ("photos:2", 4)):
        for i in range(count):
            write_picture(tmp_path / folder, f"{i}.png", coordinates(8, 8, 10 * count + i))
    data, config = [f"{tmp_path}/faces:3", f"{tmp_path}/photos:2"], RunConfig(crop=8, holdout=2)
    crops, held_out = read(data, config, tmp_path / "cache")
    last = center_crops([coordinates(8, 8, 53), coordinates(8, 8, 54)], 8, torch.device("cpu"))
    assert torch.equal(held_out[0].images, last)
    assert [(each.name, len(each.images)) for each in held_out] == [("faces", 2), ("photos:2", 2)]
    assert [p[2, 0, 0] for pictures in crops.folders for p in pictures] == [50, 51, 52, 40, 41]
    assert crops.cumulative.tolist() == [0.75, 1.0]  # photos:2 is the name of a folder, of weight 1
    assert len(read(data[:1], RunConfig(crop=8, holdout=0), tmp_path / "cache")[1][0].images) == 0


def test_data_that_is_not_there_is_refused(tmp_path):
    write_picture(tmp_path / "one", "1.png", coordinates(16, 16))
    with pytest.raises(ValueError, match=r"no folder or zip file .*gone$"):
        TrainingSet([f"{tmp_path}/gone:2"])
    with pytest.raises(ValueError, match="one has 1 picture but holdout is 32: it must leave one to train on"):
        read([str(tmp_path / "one")], RunConfig(), tmp_path / "cache")


def test_central_crops_for_validation():
    images = center_crops([coordinates(16, 20, 1)], 8, torch.device("cpu"))
    assert images.shape == (1, 3, 8, 8)
    assert images[0, 0, :, 0] == pytest.approx((torch.arange(8) + 4) / 127.5 - 1)
    assert images[0, 1, 0] == pytest.approx((torch.arange(8) + 6) / 127.5 - 1)
    assert center_crops([], 32, torch.device("cpu")).shape == (0, 3, 32, 32)


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
    """Names of the pictures as they are decoded."""
    names, decode = [], module.decode_image
    monkeypatch.setattr(module, "decode_image", lambda file, name: names.append(Path(name).name) or decode(file, name))
    return names


def four_pictures(folder: Path) -> Path:
    for i, size in enumerate([(16, 17), (20, 12), (9, 30), (14, 14)]):
        write_picture(folder, f"{i}.png", coordinates(*size, i))
    return folder


@pytest.mark.parametrize("memory_gb", [1.0, 0.0], ids=["memory", "file"])
def test_every_picture_is_decoded_once_whatever_the_epochs_and_workers(tmp_path, decodings, memory_gb):
    config = RunConfig(crop=8, holdout=1, memory_gb=memory_gb)
    crops, _ = read([str(four_pictures(tmp_path / "a"))], config, tmp_path / "cache")
    for workers in (0, 2):
        with contextlib.closing(crops.batches(0, 6, workers)) as batches:
            for _ in range(5):  # ten epochs of the three pictures that are not held out
                next(batches)
    assert decodings == [f"{i}.png" for i in range(4)]
    assert (tmp_path / "cache").exists() == (memory_gb == 0)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_crops_from_the_cache_file_are_those_from_memory(tmp_path, decodings, packed):
    source = four_pictures(tmp_path / "a")
    source = zipped(tmp_path / "a.zip", source) if packed else source
    small, large = RunConfig(crop=8, holdout=1, memory_gb=0.0), RunConfig(crop=8, holdout=1)
    for _ in range(2):  # the second time the file is there already
        filed, (held,) = read([str(source)], small, tmp_path / "cache")
    assert len(decodings) == 4
    kept, (held_kept,) = read([str(source)], large, tmp_path / "cache")
    assert all(torch.equal(a, b) for i in range(40) for a, b in zip(filed[i][:2], kept[i][:2], strict=True))
    assert torch.equal(held.images, held_kept.images)
    assert all(isinstance(_mapped(picture), np.memmap) for picture in filed.folders[0])


def _mapped(array: np.ndarray) -> object:
    """The array that ``array`` is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def test_held_out_pictures_carry_the_names_of_their_sources(tmp_path):
    """A number tells those of one name apart."""
    folders = [four_pictures(tmp_path / place) for place in ("a/train", "b/train", "c/other")]
    held_out = read([str(folder) for folder in folders], RunConfig(crop=8, holdout=1), tmp_path / "cache")[1]
    assert [each.name for each in held_out] == ["train-1", "train-2", "other"]
    assert [len(each.images) for each in held_out] == [1, 1, 1]
    assert len(held_out[0].first(0).images) == 0


def test_a_source_that_has_changed_is_decoded_anew(tmp_path, decodings):
    folder, cache = four_pictures(tmp_path / "a"), tmp_path / "cache"
    load_pictures(Source(folder), cache)
    changed = write_picture(folder, "2.png", coordinates(9, 30, 77))
    os.utime(changed, ns=(1, 1))  # whatever the file system's clock
    assert [p[2, 0, 0] for p in load_pictures(Source(folder), cache)] == [0, 1, 77, 3]
    assert len(decodings) == 8


@pytest.mark.parametrize(
    "damage", ["no file", "no index", "short file", "long file", "empty index", "half an index", "no sizes"]
)
def test_a_damaged_cache_is_written_again(tmp_path, decodings, damage):
    """As a full disk, a cleaning of temporary files or a loss of power leave it."""
    folder, cache = four_pictures(tmp_path / "a"), tmp_path / "cache"
    whole = [picture.copy() for picture in load_pictures(Source(folder), cache)]
    (index,) = cache.glob("*.json")
    data = index.with_suffix(".u8")
    {
        "no file": data.unlink,
        "no index": index.unlink,
        "short file": lambda: data.write_bytes(data.read_bytes()[:-1]),
        "long file": lambda: data.write_bytes(data.read_bytes() + b"0"),
        "empty index": lambda: index.write_bytes(b""),
        "half an index": lambda: index.write_bytes(index.read_bytes()[:9]),
        "no sizes": lambda: index.write_bytes(b"3"),
    }[damage]()
    for _ in range(2):  # the second time it is whole
        assert same(load_pictures(Source(folder), cache), whole)
    assert len(decodings) == 8


def test_other_processes_wait_for_the_first_ones_file(tmp_path, monkeypatch, decodings):
    folder, cache = Source(four_pictures(tmp_path / "a")), tmp_path / "cache"
    whole = [picture.copy() for picture in load_pictures(folder, cache)]
    away = shutil.move(cache, tmp_path / "away")
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    threading.Timer(0.3, shutil.copytree, (away, cache)).start()
    assert same(load_pictures(folder, cache), whole)
    assert len(decodings) == 4  # of the first process, none of this one


def test_sizes_are_known_before_decoding(tmp_path, decodings):
    folder = four_pictures(tmp_path / "a")
    expected = sum(p.size for p in load(folder))
    decodings.clear()
    assert Source(folder).decoded_bytes() == Source(zipped(tmp_path / "a.zip", folder)).decoded_bytes() == expected
    assert decodings == []
