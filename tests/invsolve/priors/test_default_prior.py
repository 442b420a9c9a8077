"""The shipped weights: complete, small enough, and better than what a user has without them."""

from __future__ import annotations

import json

import pytest
import torch

from invsolve import solve
from invsolve.cli import main
from invsolve.images.files import read_image
from invsolve.images.metrics import load_lpips, psnr
from invsolve.priors.file import read_checkpoint
from invsolve.priors.registry import list_priors, load_prior, resolve
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.task import load_task


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def default_prior():
    return load_prior("default")


@pytest.mark.parametrize("name", [name for name, _ in list_priors()])
def test_a_shipped_file_is_small_and_states_its_licence_data_and_recipe(name):
    path = resolve(name)
    header, tensors = read_checkpoint(path)
    assert path.stat().st_size < 40e6
    assert all(header["record"][key] for key in ("license", "data", "images_seen", "recipe"))
    assert tensors["spectrum"].min() > 0


@pytest.mark.parametrize("task_name", ["sr4x", pytest.param("inpaint_random", marks=pytest.mark.slow)])
def test_an_image_alone_and_in_a_batch_of_eight_give_the_same_result(task_name, default_prior):
    task = load_task(task_name)
    operator = task.make_operator((3, 64, 64), seed=3)
    pictures = torch.nn.functional.interpolate(NoiseStreams(1, range(8))((3, 5, 5)), size=64, mode="bicubic")
    y = operator.measure(pictures.clamp(-1, 1), task.sigma_y, NoiseStreams(2, range(8)))
    how = (operator, 4, task.sigma_y, default_prior, 0, task.settings(4))
    together = solve(y, *how)
    alone = torch.cat([solve(y[i : i + 1], *how, indices=[i]) for i in range(8)])
    assert (together - alone).abs().max() < 1e-5


def test_super_resolution_of_faces_beats_bicubic_upsampling(shared, lpips_trunk, default_prior):
    files = sorted((shared / "data" / "ffhq256" / "test").glob("*.jpg"))[:2]
    truth = torch.stack([read_image(file, 3) for file in files])
    task = load_task("sr4x")
    operator = task.make_operator(tuple(truth.shape[1:]))
    y = operator.measure(truth, task.sigma_y, NoiseStreams(0, range(len(truth))))
    restored = solve(y, operator, 4, task.sigma_y, default_prior, settings=task.settings(4))
    upsampled = torch.nn.functional.interpolate(y, scale_factor=4, mode="bicubic")
    lpips = load_lpips(lpips_trunk)
    assert mean(lpips(restored, truth)) < 0.45 * mean(lpips(upsampled, truth))
    assert mean(psnr(restored, truth)) > mean(psnr(upsampled, truth)) - 1


@pytest.mark.slow
def test_the_table_of_the_readme_on_eight_faces(shared, lpips_trunk, tmp_path):
    """The targets of the first release, at 4 evaluations, through the command that makes the README's table."""
    tasks = ["sr4x", "deblur_gaussian", "deblur_motion", "inpaint_random"]
    command = ["bench", "--data", str(shared / "data" / "ffhq256" / "test"), "--out", str(tmp_path), "--limit", "8"]
    command += ["--tasks", ",".join(tasks), "--methods", "baseline,ncvsd,teacher", "--lpips-trunk", str(lpips_trunk)]
    assert main(command) == 0
    entries = json.loads((tmp_path / "summary.json").read_text())["entries"]
    means = {(e["task"], e["method"]): (e["psnr"]["mean"], e["lpips"]["mean"]) for e in entries}
    for task in tasks:
        (psnr_, lpips), (baseline_psnr, baseline_lpips) = means[task, "ncvsd"], means[task, "baseline"]
        share = 0.70 if task == "inpaint_random" else 0.55
        assert lpips < share * baseline_lpips, task
        assert lpips < means[task, "teacher"][1], task
        allowance = 0.5 if task == "sr4x" else 0.0
        assert psnr_ > baseline_psnr - allowance, task


@pytest.mark.slow
def test_four_evaluations_against_the_teacher_on_four_faces(shared, lpips_trunk, tmp_path):
    """In the same loop the teacher is behind the prior distilled from it, also with five times its evaluations."""
    tasks = ["sr4x", "deblur_gaussian", "deblur_motion"]
    command = ["bench", "--data", str(shared / "data" / "ffhq256" / "test"), "--out", str(tmp_path), "--limit", "4"]
    command += ["--tasks", ",".join(tasks), "--lpips-trunk", str(lpips_trunk)]
    assert main([*command, "--methods", "ncvsd:4,teacher:4,teacher:20"]) == 0
    entries = json.loads((tmp_path / "summary.json").read_text())["entries"]
    lpips = {(e["task"], e["method"]): e["lpips"]["mean"] for e in entries}
    for task in tasks:
        assert lpips[task, "ncvsd:4"] < min(lpips[task, "teacher:4"], lpips[task, "teacher:20"]), task


@pytest.mark.slow
def test_samples_tell_where_they_err_and_their_mean_errs_less(shared, lpips_trunk, tmp_path):
    """Over 8 samples of each of four faces: the rank correlation of their deviation with the error of their mean."""
    command = ["bench", "--data", str(shared / "data" / "ffhq256" / "test"), "--out", str(tmp_path), "--limit", "4"]
    command += ["--tasks", "sr4x", "--methods", "ncvsd", "--samples", "8", "--lpips-trunk", str(lpips_trunk)]
    assert main(command) == 0
    (entry,) = json.loads((tmp_path / "summary.json").read_text())["entries"]
    assert entry["spearman"]["mean"] > 0.45
    assert entry["psnr_mean"]["mean"] > entry["psnr"]["mean"] + 0.5
