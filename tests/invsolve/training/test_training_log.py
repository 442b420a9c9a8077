"""What a training leaves to look at: curves and grids of pictures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from training_cases import STUDENT, TEACHER, figures, write

from invsolve.data.sources import Source, load_pictures
from invsolve.data.training_set import center_crops
from invsolve.images.files import read_image
from invsolve.priors.file import load_denoiser
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.training.distill import distill
from invsolve.training.log import Log, finite_means
from invsolve.training.teacher import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def teacher(pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    config = write(folder / "t.yaml", TEACHER, images=64, checkpoint_every=4)
    return train(config, [str(pictures)], folder / "out", "cpu")


def tiles(path: Path, size: int) -> torch.Tensor:
    """Rows and columns of a grid, ``[rows, columns, 3, size, size]``."""
    return read_image(path).unfold(1, size, size).unfold(2, size, size).permute(1, 2, 0, 3, 4)


def test_the_teachers_grid_shows_held_out_pictures_noisy_and_denoised(teacher, pictures):
    folder = teacher.parent / "samples"
    assert sorted(p.name for p in folder.iterdir()) == ["0000004.png", "0000008.png"]
    shown = tiles(folder / "0000008.png", 16)
    assert shown.shape == (2, 9, 3, 16, 16)
    held_out = center_crops(load_pictures(Source(pictures))[-2:], 16, torch.device("cpu"))
    assert (shown[:, 0] - held_out).abs().max() < 1e-6
    denoiser = load_denoiser(teacher)[0]
    for column, sigma in zip((1, 3, 5, 7), (0.2, 0.5, 1.0, 2.0), strict=True):
        u = held_out + sigma * NoiseStreams(0, range(2))((3, 16, 16))
        assert (shown[:, column] - u.clamp(-1, 1)).abs().max() < 1 / 127
        assert (shown[:, column + 1] - denoiser(u, sigma).clamp(-1, 1)).abs().max() < 2 / 127  # in half precision


def test_the_students_grid_shows_different_samples(teacher, pictures, tmp_path):
    distill(write(tmp_path / "d.yaml", STUDENT, images=64), teacher, [str(pictures)], tmp_path / "out", "cpu")
    shown = tiles(tmp_path / "out" / "samples" / "0000008.png", 16)
    assert shown.shape == (4, 5, 3, 16, 16)  # two pictures at two levels: the picture, noisy, three samples
    held_out = center_crops(load_pictures(Source(pictures))[-2:], 16, torch.device("cpu"))
    assert (shown[0::2, 0] - held_out).abs().max() < 1e-6
    samples = shown[:, 2:]
    assert (samples[:, 0] - samples[:, 1]).abs().amax((1, 2, 3)).min() > 0.02
    assert ((samples - shown[:, :1]).square().mean() < (shown[:, 1] - shown[:, 0]).square().mean()).item()


def test_tensorboard_has_the_curves_of_the_log(teacher):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    curves = events.EventAccumulator(str(teacher.parent / "tensorboard"))
    curves.Reload()
    points = curves.Scalars("training/loss")
    assert [point.step for point in points] == [4, 8]
    assert [point.value for point in points] == pytest.approx(figures(teacher.parent, "loss"), rel=1e-6)
    validation = [line["psnr_0.5"] for line in figures(teacher.parent, "validation")]
    assert [point.value for point in curves.Scalars("validation/psnr_0.5")] == pytest.approx(validation, rel=1e-6)


def test_a_training_does_without_tensorboard(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it fails
    train(write(tmp_path / "t.yaml", TEACHER, images=16, holdout=0), [str(pictures)], tmp_path / "out", "cpu")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["denoiser-ema0.05.safetensors", "denoiser-ema0.1.safetensors", "metrics.jsonl", "state.pt"]
    assert len(figures(tmp_path / "out", "loss")) == 1


@pytest.mark.parametrize("torn", [b'{"step": 12, "lo', b"\0\0\0", b'{"step": 12, "loss": 1}\n', b"\xff\n"], ids=str)
def test_figures_after_the_last_saved_state_are_not_kept(tmp_path, torn):
    """They come again; and the first new line was glued to a torn one."""
    lines = [{"step": step, "loss": 0.5} for step in (4, 8, 8, 12)]
    lines[2] = {"step": 8, "validation": {"psnr_0.5": 20.0}}
    path = tmp_path / "metrics.jsonl"
    path.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode() + torn)
    with Log(tmp_path, 8) as log:
        log.write(12, {"loss": 0.25})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [*lines[:3], {"step": 12, "loss": 0.25}]


def test_a_whole_file_of_figures_is_left_alone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "loss": 0.5}\n')
    inode = path.stat().st_ino
    Log(tmp_path, 4)
    assert path.stat().st_ino == inode
    assert path.read_text() == '{"step": 4, "loss": 0.5}\n'


def test_a_killed_training_leaves_every_figure_once(pictures, teacher, tmp_path):
    """The state is of step 8, the log of a later one."""
    out = shutil.copytree(teacher.parent, tmp_path / "out")
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"step": 12, "loss": 0.1}\n{"step": 12, "valid')
    train(write(tmp_path / "t.yaml", TEACHER, images=8 * 12, checkpoint_every=4), [str(pictures)], out, "cpu")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "loss" in line) for line in lines] == [(n, k) for n in (4, 8, 12) for k in (True, False)]


def test_means_leave_out_what_is_not_finite():
    nan, inf = float("nan"), float("inf")
    values = {"a": [torch.tensor(v) for v in (1.0, nan, 3.0, inf)], "b": [torch.tensor(nan)]}
    assert finite_means(values) == {"a": 2.0}
