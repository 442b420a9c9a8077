"""Classes of training pictures: where they come from, what is held out of each, and hiding them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from training_cases import coordinates, write_picture

from invsolve.data.labels import class_labels, class_names, dropped, one_hot
from invsolve.data.sources import Source
from invsolve.data.training_set import TrainingSet, proportional
from invsolve.specs.recipe import RunConfig


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
    for source in (Source(folder), Source(Path(shutil.make_archive(str(tmp_path / "a"), "zip", folder)))):
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


def read(folder: Path, holdout: int, classes: int = 0, crop: int = 8):
    config = RunConfig(crop=crop, holdout=holdout)
    return TrainingSet([str(folder)], classes).read(config, folder.parent / "cache", torch.device("cpu"))


def numbers(images: torch.Tensor) -> list[int]:
    """Of pictures by ``coordinates``."""
    return ((images[:, 2, 0, 0] + 1) * 127.5).round().int().tolist()


def test_crops_and_held_out_pictures_carry_their_classes(tmp_path):
    folder = class_folders(tmp_path / "a")
    write_picture(folder / "dog", "small.png", coordinates(7, 20, 9))
    crops, (held_out,) = read(folder, 3, classes=3)
    found = {(int(crops[i][0][2, 0, 0]), crops[i][3]) for i in range(60)}
    assert found == {(0, 0), (0, 1), (0, 2), (1, 2)}  # of bird, cat and dog
    assert numbers(held_out.images) == [1, 0]  # of cat; of dog the small one, which is not shown
    assert held_out.labels.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert read(folder, 3)[1][0].labels is None


def test_the_last_of_every_class_are_held_out_in_proportion(tmp_path):
    """Of three folders of 30 pictures the last one was not trained on."""
    for name, count in (("a", 30), ("b", 30), ("z", 30), ("y", 1)):
        for i in range(count):
            write_picture(tmp_path / "a" / name, f"{i:02d}.png", coordinates(8, 8, i))
    crops, (held_out,) = read(tmp_path / "a", 32, classes=4)
    assert held_out.labels.argmax(1).tolist() == [0] * 11 + [1] * 11 + [3] * 10
    assert numbers(held_out.images) == [*range(19, 30), *range(19, 30), *range(20, 30)]
    assert [p[2, 0, 0] for p in crops.folders[0]] == [*range(19), *range(19), 0, *range(20)]
    assert crops.labels == [[0] * 19 + [1] * 19 + [2] + [3] * 20]


@pytest.mark.parametrize(("count", "shares"), [(0, [0, 0, 0]), (2, [0, 1, 1]), (3, [0, 1, 2]), (4, [0, 1, 3])])
def test_shares_leave_one_of_each(count, shares):
    assert list(proportional({2: 4, 1: 2, 0: 1}, count).values()) == shares


def test_a_class_without_a_picture_to_train_on_is_refused(tmp_path):
    folder = class_folders(tmp_path / "a")
    message = r"a has 6 pictures of 3 classes but holdout is 4: it must leave one of each to train on"
    with pytest.raises(ValueError, match=message):
        read(folder, 4, classes=3)
    assert len(read(folder, 3, classes=3)[1][0].images) == 3
    assert len(read(folder, 4)[1][0].images) == 4  # where there are no classes


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
