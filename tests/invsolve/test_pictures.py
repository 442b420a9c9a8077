"""Training pictures: where they are read from, that each is decoded once, and their classes."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import coordinates, write_picture

from invsolve.training import pictures as module
from invsolve.training.config import RunConfig
from invsolve.training.data import Crops
from invsolve.training.labels import class_labels, class_names, dropped, one_hot
from invsolve.training.pictures import Source, load_pictures
from invsolve.training.reading import center_crops, held_out_images, proportional, read_data


def load(path: Path) -> list[np.ndarray]:
    return load_pictures(Source(path))


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
    assert all(np.array_equal(a, b) for a, b in zip(inside, outside, strict=True))
    config = RunConfig(crop=8, holdout=1)
    left, right = (read_data([f"{source}:2"], config, tmp_path / "cache")[0] for source in (path, folder))
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
            write_picture(tmp_path / folder, f"{i}.png", coordinates(16, 16, 10 * count + i))
    config = RunConfig(crop=8, holdout=2)
    crops, held_out, classes = read_data([f"{tmp_path}/faces:3", f"{tmp_path}/photos:2"], config, tmp_path / "cache")
    assert classes == []
    assert [p[2, 0, 0] for p in held_out] == [53, 54]  # the last of the first folder
    assert [p[2, 0, 0] for pictures in crops.folders for p in pictures] == [50, 51, 52, 40, 41]
    assert crops.cumulative.tolist() == [0.75, 1.0]  # photos:2 is the name of a folder, of weight 1
    assert read_data([f"{tmp_path}/faces"], RunConfig(crop=8, holdout=0), tmp_path / "cache")[1] == []


def test_data_that_is_not_there_is_refused(tmp_path):
    write_picture(tmp_path / "one", "1.png", coordinates(16, 16))
    with pytest.raises(ValueError, match=r"no folder or zip file .*gone$"):
        read_data([f"{tmp_path}/gone:2"], RunConfig(), tmp_path / "cache")
    with pytest.raises(ValueError, match="has 1 pictures but 1 are to be held out"):
        read_data([str(tmp_path / "one")], RunConfig(holdout=1), tmp_path / "cache")


def test_central_crops_for_validation():
    pictures = [coordinates(16, 20, 1), coordinates(7, 20, 2)]
    images = center_crops(pictures, 8, torch.device("cpu"))
    assert images.shape == (1, 3, 8, 8)  # of the one that is large enough
    assert images[0, 0, :, 0] == pytest.approx((torch.arange(8) + 4) / 127.5 - 1)
    assert images[0, 1, 0] == pytest.approx((torch.arange(8) + 6) / 127.5 - 1)
    assert center_crops(pictures, 32, torch.device("cpu")).shape == (0, 3, 32, 32)


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
    crops, _, _ = read_data([str(four_pictures(tmp_path / "a"))], config, tmp_path / "cache")
    for workers in (0, 2):
        batches = crops.batches(0, 6, workers)
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
        filed, held, _ = read_data([str(source)], small, tmp_path / "cache")
    assert len(decodings) == 4
    kept, held_kept, _ = read_data([str(source)], large, tmp_path / "cache")
    assert all(torch.equal(a, b) for i in range(40) for a, b in zip(filed[i][:2], kept[i][:2], strict=True))
    assert np.array_equal(held[0], held_kept[0])
    assert all(isinstance(_mapped(picture), np.memmap) for picture in filed.folders[0])


def _mapped(array: np.ndarray) -> object:
    """The array that ``array`` is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def test_a_source_that_has_changed_is_decoded_anew(tmp_path, decodings):
    folder, cache = four_pictures(tmp_path / "a"), tmp_path / "cache"
    load_pictures(Source(folder), cache)
    changed = write_picture(folder, "2.png", coordinates(9, 30, 77))
    os.utime(changed, ns=(1, 1))  # whatever the file system's clock
    assert [p[2, 0, 0] for p in load_pictures(Source(folder), cache)] == [0, 1, 77, 3]
    assert len(decodings) == 8


def test_a_cache_that_was_interrupted_is_written_again(tmp_path):
    folder, cache = four_pictures(tmp_path / "a"), tmp_path / "cache"
    whole = [picture.copy() for picture in load_pictures(Source(folder), cache)]
    (index,) = cache.glob("*.json")
    index.unlink()
    index.with_suffix(".u8").write_bytes(b"half")
    assert all(np.array_equal(a, b) for a, b in zip(load_pictures(Source(folder), cache), whole, strict=True))


def test_sizes_are_known_before_decoding(tmp_path, decodings):
    folder = four_pictures(tmp_path / "a")
    expected = sum(p.size for p in load(folder))
    decodings.clear()
    assert Source(folder).decoded_bytes() == Source(zipped(tmp_path / "a.zip", folder)).decoded_bytes() == expected
    assert decodings == []


def class_folders(root: Path) -> Path:
    for name, count in (("dog", 2), ("cat/young", 1), ("cat", 2), ("bird", 1)):
        for i in range(count):
            write_picture(root / name, f"{i}.png", coordinates(16, 16, i))
    return root


def test_classes_are_the_names_of_top_folders_in_order(tmp_path):
    first, second = Source(class_folders(tmp_path / "a")), tmp_path / "b"
    write_picture(second / "cow", "0.png", coordinates(16, 16))
    sources = [first, Source(second)]
    assert class_names(sources) == ["bird", "cat", "cow", "dog"]
    assert first.names == ["bird/0.png", "cat/0.png", "cat/1.png", "cat/young/0.png", "dog/0.png", "dog/1.png"]
    assert class_labels(sources, 4) == [[0, 1, 1, 1, 3, 3], [2]]
    assert class_labels(sources, 0) == [[], []]
    with pytest.raises(ValueError, match="has class 3 but the network has labels: 3"):
        class_labels(sources, 3)
    write_picture(second, "stray.png", coordinates(16, 16))
    with pytest.raises(ValueError, match=r"stray\.png lies in no folder that names its class"):
        class_labels([Source(second)], 4)


def test_classes_come_from_a_labels_file(tmp_path):
    folder = class_folders(tmp_path / "a")
    names = Source(folder).names
    labels = [[name, 10 + i] for i, name in enumerate(names)]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels[::-1]}))
    for source in (Source(folder), Source(zipped(tmp_path / "a.zip", folder))):
        assert class_labels([source], 16) == [[10, 11, 12, 13, 14, 15]]
        assert class_names([source]) == []
    for bad, message in [
        ({"labels": None}, 'expected {"labels"'),
        ({"labels": labels[1:]}, "the class of bird/0.png is None"),
        ({"labels": [[name, 1.5] for name in names]}, "the class of bird/0.png is 1.5"),
        ([], 'expected {"labels"'),
    ]:
        (folder / "dataset.json").write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=r".") as error:
            class_labels([Source(folder)], 16)
        assert message in str(error.value)


def test_crops_and_held_out_pictures_carry_their_classes(tmp_path):
    folder = class_folders(tmp_path / "a")
    crops, held_out, classes = read_data([str(folder)], RunConfig(crop=8, holdout=2), tmp_path / "cache", 3)
    assert isinstance(crops, Crops)
    drawn = {(int(crops[i][0][2, 0, 0]), crops[i][3]) for i in range(60)}
    assert drawn == {(0, 0), (0, 1), (1, 1), (0, 2)}  # of bird, cat and dog
    assert [(p[2, 0, 0], label) for p, label in zip(held_out, classes, strict=True)] == [(0, 1), (1, 2)]
    held_out = [coordinates(7, 20), *held_out]  # the first is too small
    images = held_out_images(held_out, [0, *classes], 8, 3, torch.device("cpu"))
    assert images.labels.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert len(images.images) == 2
    assert images.first(1).labels.tolist() == [[0, 1, 0]]
    assert held_out_images(held_out, [], 8, 0, torch.device("cpu")).labels is None


def test_the_last_of_every_class_are_held_out_in_proportion(tmp_path):
    """Of three folders of 30 pictures the last one was not trained on."""
    for name, count in (("a", 30), ("b", 30), ("z", 30), ("y", 1)):
        for i in range(count):
            write_picture(tmp_path / "a" / name, f"{i:02d}.png", coordinates(8, 8, i))
    crops, held_out, classes = read_data([str(tmp_path / "a")], RunConfig(crop=8, holdout=32), tmp_path / "cache", 4)
    assert classes == [0] * 11 + [1] * 11 + [3] * 10
    assert [p[2, 0, 0] for p in held_out] == [*range(19, 30), *range(19, 30), *range(20, 30)]
    assert [p[2, 0, 0] for p in crops.folders[0]] == [*range(19), *range(19), 0, *range(20)]
    assert crops.labels == [[0] * 19 + [1] * 19 + [2] + [3] * 20]


@pytest.mark.parametrize(("count", "shares"), [(0, [0, 0, 0]), (2, [0, 1, 1]), (3, [0, 1, 2]), (4, [0, 1, 3])])
def test_shares_leave_one_of_each(count, shares):
    assert list(proportional({2: 4, 1: 2, 0: 1}, count).values()) == shares


def test_a_class_without_a_picture_to_train_on_is_refused(tmp_path):
    folder, cache = class_folders(tmp_path / "a"), tmp_path / "cache"
    message = r"a has 6 pictures of 3 classes but 4 are to be held out, which leaves a class without a picture to train"
    with pytest.raises(ValueError, match=message):
        read_data([str(folder)], RunConfig(crop=8, holdout=4), cache, 3)
    assert len(read_data([str(folder)], RunConfig(crop=8, holdout=3), cache, 3)[1]) == 3
    assert len(read_data([str(folder)], RunConfig(crop=8, holdout=4), cache)[1]) == 4  # where there are no classes


def test_hidden_classes_are_rows_of_zeros():
    assert one_hot(torch.tensor([2, -1, 0]), 3).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert one_hot(torch.tensor([-1]), 0) is None
    labels, normals = torch.arange(20_000) % 5, torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    hidden = dropped(labels, normals, 0.1)
    share = (hidden == -1).double().mean().item()
    assert abs(share - 0.1) < 5 * (0.09 / 20_000) ** 0.5
    assert torch.equal(hidden[hidden >= 0], labels[hidden >= 0])
    assert torch.equal(dropped(labels, normals, 0.0), labels)
    assert (dropped(labels, normals, 1.0) == -1).all()
