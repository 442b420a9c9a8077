"""`invsolve run` on many pictures: one that is broken stops no other, and folders may be run over again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_pictures import COMMAND, environment, files, picture, pixels
from PIL import Image

from invsolve.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(tiny_prior, tmp_path, monkeypatch):
    """Run the command in this process, one network evaluation a picture; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: object) -> int:
        return main([str(part) for part in ("run", *arguments, "--steps", 1, "--prior", tiny_prior, "--device", "cpu")])

    return run_command


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures, of two sizes."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    for k, height in enumerate((32, 24, 32)):
        picture(inputs / f"p{k}.png", height, 32, offset=30 * k)
    return inputs


RESTORED = ["p0_restored.png", "p1_restored.png", "p2_restored.png"]


def test_a_broken_picture_stops_no_other(run, folder, tmp_path, capsys):
    (folder / "p1.png").write_bytes((folder / "p1.png").read_bytes()[:600])
    (folder / "p3.png").write_text("not a picture")
    assert run("denoise", "--input", "in", "--output", "out") == 1
    assert files(tmp_path / "out") == ["p0_restored.png", "p2_restored.png"]
    printed = capsys.readouterr()
    assert "denoise: 2 pictures restored with 1 network evaluation" in printed.out
    lines = printed.err.splitlines()
    assert [line.split(":")[2].strip() for line in lines[-2:]] == ["in/p1.png", "in/p3.png"]
    assert all("cannot be read as a picture" in line for line in lines[-2:])


def test_a_picture_that_the_operator_does_not_fit_stops_no_other(run, folder, tmp_path, capsys):
    mask = np.full((32, 32), 255, np.uint8)
    mask[4:8, 4:8] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert run("inpaint_box", "--input", "in", "--mask", "mask.png", "--output", "out") == 1
    assert files(tmp_path / "out") == ["p0_restored.png", "p2_restored.png"]
    assert "inpaint_box on in/p1.png: mask is 32x32 but the image is 24x32" in capsys.readouterr().err
    assert run("inpaint_box", "--input", "in", "--mask", "mask.png", "--fit-mask", "--output", "fitted") == 0
    assert files(tmp_path / "fitted") == RESTORED


def test_results_in_the_inputs_folder_are_no_inputs(run, folder, capsys):
    options = ("denoise", "--input", "in", "--output", "in", "--samples", 2)
    assert run(*options) == 0
    written = files(folder)
    assert len(written) == 3 * 6
    capsys.readouterr()
    assert run(*options) == 0
    assert files(folder) == written
    assert "in: left out 15 of 18 pictures, results of earlier runs" in capsys.readouterr().err
    (folder / "p0.png").unlink()  # what is named so but is no result of a picture beside it is a picture
    capsys.readouterr()
    assert run(*options) == 0
    assert "p0_restored_restored.png" in files(folder)


def test_what_is_there_is_skipped_where_asked_to(run, folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "p1_restored.png").write_text("is there")
    assert run("denoise", "--input", "in", "--output", "out", "--skip-existing") == 0
    assert files(tmp_path / "out") == RESTORED
    assert (tmp_path / "out" / "p1_restored.png").read_text() == "is there"
    assert "denoise: 1 picture skipped, which had been restored before" in capsys.readouterr().out
    assert run("denoise", "--input", "in", "--output", "out", "--skip-existing") == 0


def test_one_picture_may_have_its_file_named(run, folder, tmp_path):
    assert run("denoise", "--input", "in/p0.png", "--output", "out/better.webp", "--samples", 2) == 0
    names = ["better.webp", "better_mean.webp", "better_sample1.webp", "better_sample2.webp", "better_std.png"]
    assert files(tmp_path / "out") == names
    with Image.open(tmp_path / "out" / "better.webp") as found:
        assert (found.format, found.size) == ("WEBP", (32, 32))


def test_sub_folders_are_mirrored_where_asked_to(run, folder, tmp_path):
    for below in ("a", "a/b", ".hidden"):
        (folder / below).mkdir()
        picture(folder / below / "p0.png", 24, 24)
    assert run("denoise", "--input", "in", "--output", "in/out", "--recursive") == 0
    for _ in range(2):  # also when it is there already
        assert files(folder / "out") == ["a", *RESTORED]
        assert files(folder / "out" / "a") == ["b", "p0_restored.png"]
        assert files(folder / "out" / "a" / "b") == ["p0_restored.png"]
        assert run("denoise", "--input", "in", "--output", "in/out", "--recursive") == 0
    assert run("denoise", "--input", "in", "--output", "flat") == 0
    assert files(tmp_path / "flat") == RESTORED


def test_a_line_of_json_for_each_picture(run, folder, capsys):
    (folder / "p1.png").write_text("not a picture")
    assert run("denoise", "--input", "in", "--output", "out", "--json", "--sigma", "12.75/255") == 1
    found = {record["picture"]: record for record in map(json.loads, capsys.readouterr().out.splitlines())}
    assert sorted(found) == ["in/p0.png", "in/p1.png", "in/p2.png"]
    assert found["in/p0.png"]["files"] == {"restored": "out/p0_restored.png"}
    assert found["in/p0.png"]["sigma_y"] == pytest.approx(0.1)
    assert "cannot be read" in found["in/p1.png"]["error"]


def test_quiet_prints_errors_alone(run, folder, capsys):
    assert run("denoise", "--input", "in", "--output", "out", "--quiet") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_each_picture_may_have_its_mask(run, folder, tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    holes = {"p0.png": np.s_[2:6, 2:6], "p1.npy": np.s_[10:14, 8:12], "p2.webp": np.s_[20:24, 20:24]}
    for name, hole in holes.items():
        mask = np.full(pixels(folder / f"{Path(name).stem}.png").shape[:2], 255, np.uint8)
        mask[hole] = 0
        if name.endswith("npy"):
            np.save(tmp_path / "masks" / name, mask)
        else:
            Image.fromarray(mask).convert("RGB").save(tmp_path / "masks" / name, lossless=True)
    assert run("inpaint_box", "--input", "in", "--mask", "masks", "--output", "out") == 0
    for name, hole in holes.items():
        stem = Path(name).stem
        changed = (pixels(tmp_path / "out" / f"{stem}_restored.png") != pixels(folder / f"{stem}.png")).any(axis=2)
        assert changed[hole].any()
        assert changed.sum() == changed[hole].sum()
    (tmp_path / "masks" / "p1.npy").unlink()
    assert run("inpaint_box", "--input", "in", "--mask", "masks", "--output", "out") == 1
    assert "in/p1.png: no masks of the name p1 in masks" in capsys.readouterr().err


def test_results_do_not_depend_on_what_waits_for_what(run, folder, tmp_path, monkeypatch):
    """Pictures of many shapes wait for others like them, up to some memory."""
    assert run("denoise", "--input", "in", "--output", "batches", "--sigma", "0.05") == 0
    monkeypatch.setattr("invsolve.apps.run.PENDING", 0)
    assert run("denoise", "--input", "in", "--output", "alone", "--sigma", "0.05") == 0
    for name in RESTORED:
        assert np.abs(pixels(tmp_path / "batches" / name) - pixels(tmp_path / "alone" / name)).max() <= 1


def test_processes_share_the_pictures(run, folder, tmp_path, monkeypatch):
    """As torchrun starts them; what one leaves that died is done by a run that skips the rest."""
    assert run("denoise", "--input", "in", "--output", "one") == 0
    with monkeypatch.context() as patch:
        for variable, value in {"TORCHELASTIC_RUN_ID": "test", "RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2}.items():
            patch.setenv(variable, str(value))
        assert run("denoise", "--input", "in", "--output", "two") == 0
    assert files(tmp_path / "two") == RESTORED[1:2]
    assert run("denoise", "--input", "in", "--output", "two", "--skip-existing") == 0
    for name in RESTORED:
        assert np.array_equal(pixels(tmp_path / "two" / name), pixels(tmp_path / "one" / name))


@pytest.mark.slow
def test_two_processes_of_torchrun_restore_as_one(run, folder, tmp_path, tiny_prior):
    assert run("denoise", "--input", "in", "--output", "one") == 0
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "invsolve"]
    command = ["run", "denoise", "--input", "in", "--output", "two", "--steps", "1", "--prior", str(tiny_prior)]
    variables = {**environment(), "OMP_NUM_THREADS": "1"}
    how = {"env": variables, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 200}
    done = subprocess.run([*start, *command, "--device", "cpu"], check=False, **how)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(": ")[1] for line in done.stdout.splitlines() if "wrote" in line) == [
        f"wrote two/{name}" for name in RESTORED
    ]
    for name in RESTORED:
        assert np.array_equal(pixels(tmp_path / "two" / name), pixels(tmp_path / "one" / name))


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files(folder, tmp_path, tiny_prior):
    """Between two of many pictures; the same command with --skip-existing does the rest."""
    for k in range(3, 60):
        picture(folder / f"p{k}.png", 64, 64, offset=k)
    command = [COMMAND[0], "-u", *COMMAND[1:], "run", "denoise", "--input", "in", "--output", "out", "--batch", "1"]
    command += ["--prior", str(tiny_prior), "--steps", "20", "--skip-existing"]
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes, **heed) as process:
        try:
            while "wrote" not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    done = files(tmp_path / "out")
    assert 0 < len(done) < 60
    assert all(name.endswith("_restored.png") for name in done)
    for name in done:
        assert pixels(tmp_path / "out" / name).shape[2] == 3
    assert subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True).returncode == 0
    assert len(os.listdir(tmp_path / "out")) == 60
