"""A state goes on with the training it is of, and with no other: not with other settings, pictures or teachers."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from training_cases import STUDENT, TEACHER, assert_same_states, refused, state_of, steps_done, write, write_pictures

from invsolve.cli import main
from invsolve.data.training_set import TrainingSet
from invsolve.training.distill import distill
from invsolve.training.identity import check_identity
from invsolve.training.teacher import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def begun(pictures, tmp_path_factory) -> Path:
    """The folder of a training after two steps, which is to be copied."""
    folder = tmp_path_factory.mktemp("begun")
    train(write(folder / "t.yaml", TEACHER, images=16), [str(pictures)], folder / "out", "cpu")
    return folder / "out"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 1 but was 0"),
        ({"batch": 4, "holdout": 3}, "batch is 4 but was 8; holdout is 3 but was 2"),
        ({"ema": [0.05, 0.12]}, "ema is (0.05, 0.12) but was (0.05, 0.1)"),
        ({"sigma_mean": -1.0}, "sigma_mean is -1.0 but was -0.9"),
        ({"network": {**TEACHER["network"], "dropout": 0.1}}, "network dropout is 0.1 but was 0.0"),
    ],
    ids=str,
)
def test_other_settings_are_refused(begun, pictures, tmp_path, change, message):
    out = shutil.copytree(begun, tmp_path / "out")
    config, before = write(tmp_path / "t.yaml", {**TEACHER, "images": 32, **change}), (out / "state.pt").read_bytes()
    refusal = f"{out}/state.pt does not go on with this training; move it away to start anew ({message})"
    refused(refusal, train, config, [str(pictures)], out, "cpu")
    assert (out / "state.pt").read_bytes() == before


def test_settings_that_may_change_go_on(begun, pictures, tmp_path):
    out = shutil.copytree(begun, tmp_path / "out")
    free = {"learning_rate": 0.01, "accumulate": 2, "memory_gb": 0, "precision": "bf16", "checkpoint_every": 1}
    free |= {"workers": 1, "snapshot_every": 2, "license": "CC BY", "data": "others", "images": 32}
    config = write(tmp_path / "t.yaml", TEACHER, **free, network={**TEACHER["network"], "dropout": 0.0})
    train(config, [str(pictures)], out, "cpu", cache=tmp_path)
    assert steps_done(out) == 4


def test_other_pictures_and_weights_are_refused_and_copies_are_not(begun, pictures, tmp_path, capsys):
    out, config = shutil.copytree(begun, tmp_path / "out"), write(tmp_path / "t.yaml", TEACHER, images=24)
    fewer, larger = (shutil.copytree(pictures, tmp_path / name) for name in ("fewer", "larger"))
    (fewer / "03.png").unlink()
    with open(larger / "03.png", "ab") as file:
        file.write(b"0")
    command = ["train", str(config), "--out", str(out), "--device", "cpu", "--data"]
    for data in ([f"{pictures}:2"], [str(fewer)], [str(larger)], [str(pictures), str(fewer)]):
        assert main([*command, *data]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert "does not go on with this training" in line
        assert "pictures is [" in line
    copy = shutil.copytree(pictures, tmp_path / "copy")
    os.utime(copy / "03.png", (1e9, 1e9))
    with zipfile.ZipFile(tmp_path / "copy.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(copy.iterdir(), reverse=True):
            archive.write(file, file.name)
    expected = TrainingSet([str(pictures)]).describe()
    assert expected[0].startswith("12 of weight 1 (")
    for other in (copy, tmp_path / "copy.zip"):
        assert TrainingSet([str(other)]).describe() == expected
    assert main([*command, str(tmp_path / "copy.zip")]) == 0
    assert steps_done(out) == 3


def test_other_classes_are_other_data(tmp_path):
    folder = tmp_path / "data"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        write_pictures(folder / name)
    seen = [TrainingSet([str(folder)], 4).describe()]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    for shift in (0, 1):
        labels = [[name, name.startswith("b") + shift] for name in names]
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
        seen.append(TrainingSet([str(folder)], 4).describe())
    assert seen[0] == seen[1] != seen[2]
    assert seen[0][0].endswith(", each held out in part")  # unlike in states of versions that held out the last classes


def test_another_teacher_generator_or_command_is_refused(teacher, begun, pictures, tmp_path):
    config, data, out = write(tmp_path / "d.yaml", STUDENT, images=16), [str(pictures)], tmp_path / "out"
    prior = distill(config, teacher, data, out, "cpu")
    longer, again = write(tmp_path / "l.yaml", STUDENT, images=24), (data, out, "cpu", float("inf"))
    other = begun / "denoiser-ema0.05.safetensors"
    refused("(teacher is ", distill, longer, other, *again)
    refused("(generator is ", distill, longer, teacher, *again, prior)
    refused("(command is distill but was train", distill, longer, teacher, data, begun, "cpu")
    copy = shutil.copy(teacher, tmp_path / "copy.safetensors")
    distill(longer, copy, *again)
    assert steps_done(out) == 3


def test_a_state_that_does_not_say_what_it_is_of_goes_on(begun, pictures, tmp_path):
    """As those of earlier versions; from then on it says it."""
    config, runs = write(tmp_path / "t.yaml", TEACHER, images=32), (tmp_path / "old", tmp_path / "new")
    for out in runs:
        shutil.copytree(begun, out)
    state = state_of(runs[0])
    assert state.pop("training")["command"] == "train"
    torch.save(state, runs[0] / "state.pt")
    for out in runs:
        train(config, [str(pictures)], out, "cpu")
    assert_same_states(*(out / "state.pt" for out in runs), steps=4)
    refused(
        "(seed is 1 but was 0)", train, write(tmp_path / "s.yaml", TEACHER, seed=1), [str(pictures)], runs[0], "cpu"
    )


def test_only_what_both_versions_record_is_compared():
    check_identity({"seed": 0, "forgotten": 1}, {"seed": 0, "new": 2})
    with pytest.raises(ValueError, match=r"^seed is 1 but was 0; zoom is 3 but was 2$"):
        check_identity({"zoom": 2, "seed": 0, "forgotten": 1}, {"seed": 1, "new": 2, "zoom": 3})
