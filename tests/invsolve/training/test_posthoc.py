"""Averages reconstructed from stored ones, against the average itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_cases import STUDENT, TEACHER, refused, write

from invsolve.cli import main
from invsolve.priors.file import load_denoiser, read_checkpoint
from invsolve.priors.registry import load_prior
from invsolve.training.distill import distill
from invsolve.training.ema import exponent_of
from invsolve.training.posthoc import inner_products, reconstruct, solve_weights
from invsolve.training.teacher import train

pytestmark = pytest.mark.usefixtures("one_thread")


def density(std: float, steps: float, tau: np.ndarray) -> np.ndarray:
    gamma = exponent_of(std)
    return np.where(tau <= steps, (gamma + 1) * tau**gamma / steps ** (gamma + 1), 0)


def test_inner_products_are_the_integrals():
    left, right = [(0.05, 10), (0.1, 7), (0.2, 4)], [(0.08, 10), (0.15, 5)]
    tau = (np.arange(10**6) + 0.5) * 1e-5
    expected = [[np.sum(density(*p, tau) * density(*q, tau)) * 1e-5 for q in right] for p in left]
    assert inner_products(left, right) == pytest.approx(np.array(expected), rel=1e-4)
    assert np.allclose(inner_products(left, right), inner_products(right, left).T)


def test_weights_reproduce_the_density_and_say_how_well():
    stored = [(std, steps) for steps in range(100, 1001, 100) for std in (0.05, 0.1)]
    weights, error = solve_weights(stored, (0.05, 1000))
    assert weights == pytest.approx(np.eye(20)[18], abs=1e-8)  # one of those stored
    assert error < 1e-6
    tau = (np.arange(10**5) + 0.5) * 1e-2
    for count, bound in ((4, 1.0), (10, 0.1)):  # few snapshots, many
        some = stored[-2 * count :]
        weights, error = solve_weights(some, (0.08, 1000))
        wanted = density(0.08, 1000, tau)
        found = sum(w * density(*p, tau) for w, p in zip(weights, some, strict=True))
        assert error == pytest.approx(np.linalg.norm(found - wanted) / np.linalg.norm(wanted), rel=1e-2)
        assert error < bound


@pytest.fixture(scope="module")
def teacher(pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    config = write(folder / "t.yaml", TEACHER, images=8 * 96, checkpoint_every=6, snapshot_every=6)
    return train(config, [str(pictures)], folder / "out", "cpu")


def distance(left: Path, right: Path) -> float:
    """Largest difference of two files' weights, which have unit mean square."""
    states = [load_denoiser(path, train=True)[0].network.state_dict() for path in (left, right)]
    return max((states[0][name] - states[1][name]).abs().max().item() for name in states[0])


@pytest.mark.slow
def test_a_reconstructed_average_is_the_average(teacher, pictures, tmp_path, capsys):
    config = write(tmp_path / "t.yaml", TEACHER, images=8 * 96, ema=[0.08])
    direct = train(config, [str(pictures)], tmp_path / "direct", "cpu")
    path = tmp_path / "new" / "ema.safetensors"
    assert main(["ema", str(teacher.parent), "--std", "0.08", "--out", str(path)]) == 0
    assert f"wrote {path}, from 32 snapshots" in capsys.readouterr().out
    record = load_denoiser(path)[1]["record"]
    assert (record["ema"], record["reconstructed_from"], record["images_seen"]) == (0.08, 32, 768)
    neighbours = [teacher, teacher.with_name("denoiser-ema0.1.safetensors")]
    assert distance(path, direct) < 0.1 * min(distance(direct, neighbour) for neighbour in neighbours)
    assert torch.equal(load_denoiser(path)[2], load_denoiser(direct)[2])


@pytest.mark.slow
def test_the_averages_of_a_distillation_are_stored_from_the_generators_first_step(teacher, pictures, tmp_path):
    config = write(tmp_path / "d.yaml", STUDENT, checkpoint_every=2, snapshot_every=2, ema=[0.05, 0.1])
    path = distill(config, teacher, [str(pictures)], tmp_path / "out", "cpu")
    names = {p.name.partition("-")[0] for p in (tmp_path / "out" / "snapshots").iterdir()}
    assert sorted(names) == [f"{step:07d}" for step in range(4, 17, 2)]  # fake_first is 3
    reconstruct(tmp_path / "out", 0.05, tmp_path / "same.safetensors")
    assert distance(tmp_path / "same.safetensors", path) < 4e-3  # stored in half precision twice
    assert load_prior(tmp_path / "same.safetensors").evaluations == 1


@pytest.fixture(scope="module")
def begun(pictures, tmp_path_factory) -> Path:
    """The folder of a training of four steps with snapshots after two and four, to be copied."""
    folder = tmp_path_factory.mktemp("begun")
    config = write(folder / "t.yaml", TEACHER, images=32, checkpoint_every=2, snapshot_every=2)
    return train(config, [str(pictures)], folder / "out", "cpu").parent


def test_averages_of_two_runs_are_not_mixed(begun, pictures, tmp_path):
    """A run's state is moved away, as its refusal says to start anew; its snapshots stay."""
    out = shutil.copytree(begun, tmp_path / "out")
    (out / "state.pt").unlink()
    other = write(tmp_path / "t.yaml", TEACHER, images=24, checkpoint_every=1, snapshot_every=1, seed=1)
    message = f"{out}/snapshots is of an earlier training, whose state is gone; move it away too to start anew"
    refused(message, train, other, [str(pictures)], out, "cpu")
    assert not (out / "state.pt").exists()
    train(other, [str(pictures)], tmp_path / "other", "cpu")
    for snapshot in (tmp_path / "other" / "snapshots").iterdir():
        snapshot.replace(out / "snapshots" / snapshot.name)
    first, last = (f"{step}-ema0.{std}.safetensors" for step, std in (("0000001", "05"), ("0000004", "1")))
    message = f"{out}/snapshots/{first} is not a snapshot of the same run as {last}: seed is 1 but was 0 there"
    refused(message, reconstruct, out, 0.08, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def change_record(path: Path, **changes: object) -> None:
    """Change a file's record; None leaves an entry out."""
    header, tensors = read_checkpoint(path)
    record = {name: value for name, value in {**header["record"], **changes}.items() if value is not None}
    save_file(tensors, path, metadata={"invsolve": json.dumps({**header, "record": record})})


def test_snapshots_that_do_not_say_what_they_are_of_are_read(begun, pictures, tmp_path):
    """As those of earlier versions, and with others; the training does not write them again."""
    out = shutil.copytree(begun, tmp_path / "out")
    reconstruct(out, 0.08, tmp_path / "x.safetensors")
    for path in sorted((out / "snapshots").iterdir()):
        change_record(path, training=None)
        assert reconstruct(out, 0.08, tmp_path / "y.safetensors")[0] == 4
        assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()
    before = {path: path.read_bytes() for path in (out / "snapshots").iterdir()}
    train(begun.parent / "t.yaml", [str(pictures)], out, "cpu")
    assert {path: path.read_bytes() for path in (out / "snapshots").iterdir()} == before


def test_a_run_without_snapshots_and_an_impossible_width_are_refused(begun, pictures, tmp_path):
    refused("no snapshots in", reconstruct, tmp_path, 0.08, tmp_path / "x.safetensors")
    refused("relative width", reconstruct, begun, 0.4, tmp_path / "x.safetensors")
    config = write(tmp_path / "t.yaml", TEACHER, checkpoint_every=4, snapshot_every=6)
    refused("snapshot_every is 6 but must be a multiple of", train, config, [str(pictures)], tmp_path / "out", "cpu")
    assert list(tmp_path.iterdir()) == [config]
