"""The `invsolve` command on real pictures: what it writes, measures and prints."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_pictures import COMMAND, environment, files, picture, pixels
from PIL import Image

from invsolve.apps import observe as observe_module
from invsolve.apps import restore as restore_module
from invsolve.apps.run import run
from invsolve.cli import main
from invsolve.images.files import read_image, to_bytes, write_image
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import save_denoiser
from invsolve.priors.reflected import with_reflection
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import stream_index
from invsolve.solver.solve import solve
from invsolve.specs.options import RunOptions
from invsolve.specs.task import Task, load_task
from operators import GaussianBlur, LinearOperator, blur


@pytest.fixture
def restore(tiny_prior, tmp_path):
    """Run the command in this process on the tiny prior; returns the folder of its results."""

    def run_command(*arguments: object, output: str = "out") -> Path:
        folder = tmp_path / output
        command = ["run", *arguments, "--prior", tiny_prior, "--output", folder, "--device", "cpu"]
        assert main([str(argument) for argument in command]) == 0
        return folder

    return run_command


@pytest.fixture
def half_mask(tmp_path) -> Path:
    """Of 48x64 pixels, the right half observed."""
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_the_command_restores_a_picture(tiny_prior, tmp_path):
    picture(tmp_path / "img.png")
    command = [*COMMAND, "run", "sr4x", "--input", "img.png", "--prior", str(tiny_prior)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert "wrote img_restored.png" in done.stdout
    assert files(tmp_path) == ["img.png", "img_restored.png"]
    assert pixels(tmp_path / "img_restored.png").shape == (4 * 48, 4 * 64, 3)


def test_ctrl_c_exits_with_130_and_leaves_nothing(tiny_prior, tmp_path):
    picture(tmp_path / "img.png", 96, 96)
    command = [COMMAND[0], "-u", *COMMAND[1:], "run", "denoise", "--steps", "1000000"]
    command += ["--input", "img.png", "--output", "out", "--prior", str(tiny_prior)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Where the tests run in the background, a shell has them ignore SIGINT, and so would the command.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), text=True, **pipes, **heed) as process:
        try:
            assert process.stdout.readline().startswith("img: noise of")  # from here on it is at work
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors.splitlines()[-1]) == (130, "invsolve: interrupted")
    assert files(tmp_path) == ["img.png"]


IN_A_STRING = """
def command(arguments):
    exec("raise KeyboardInterrupt")
"""
TAKEN_FOR_ANOTHER_ERROR = """
def command(arguments):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("a wrong argument") from None
"""


@pytest.mark.parametrize("command", [IN_A_STRING, TAKEN_FOR_ANOTHER_ERROR], ids=["string", "error"])
def test_ctrl_c_exits_with_130_whatever_it_interrupts(tmp_path, command):
    (tmp_path / "interrupted.py").write_text(
        "import argparse, signal\n"
        "from invsolve import cli\n"
        f"{command}\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "cli._parser = argparse.ArgumentParser\n"
        "argparse.ArgumentParser.parse_args = lambda *_: argparse.Namespace(command=command)\n"
        "import invsolve.__main__\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "invsolve: interrupted\n")


def test_the_result_is_that_of_solve(restore, tiny_prior, tmp_path):
    folder = restore("sr4x", "--input", picture(tmp_path / "face.png"), "--seed", 7, "--sigma", 0.05)
    task = load_task("sr4x")
    y = read_image(tmp_path / "face.png")[None]
    operator = task.make_operator((3, 192, 256))
    how = {
        "prior": with_reflection(load_prior(tiny_prior)),
        "seed": 7,
        "settings": task.settings(4),
        "indices": [stream_index("face")],
    }
    x = solve(y, operator, steps=4, sigma_y=0.05, **how)
    write_image(x[0], tmp_path / "wanted.png")
    assert np.abs(pixels(folder / "face_restored.png") - pixels(tmp_path / "wanted.png")).max() <= 1


def test_names_may_be_any_bytes(restore, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9")
    try:
        image = picture(tmp_path / f"{name}.png")
    except OSError:
        pytest.skip("this file system takes names in Unicode only")
    folder = restore("denoise", "--simulate", "--input", image)
    assert files(folder) == [
        f"{name}_{part}" for part in ("comparison.png", "measurement.png", "metrics.json", "restored.png")
    ]
    assert json.loads((folder / f"{name}_metrics.json").read_text())["picture"] == str(image)
    assert r"caf\udce9_restored.png" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "content"), [("café", "café".encode()), ("caf\udce9", b"caf\xe9")])
def test_the_stream_of_a_name_is_a_hash_of_its_bytes(name, content):
    assert stream_index(name) == int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def test_simulation_writes_and_measures(restore, tmp_path, capsys):
    folder = restore("sr4x", "--simulate", "--input", picture(tmp_path / "a.png", 64, 96))
    assert files(folder) == ["a_comparison.png", "a_measurement.png", "a_metrics.json", "a_restored.png"]
    truth, found = pixels(tmp_path / "a.png"), pixels(folder / "a_restored.png")
    measured = pixels(folder / "a_measurement.png")
    assert measured.shape == (16, 24, 3)

    record = json.loads((folder / "a_metrics.json").read_text())
    psnr = 10 * math.log10(255**2 / np.square(truth - found).mean())
    assert record["psnr"] == pytest.approx(psnr, abs=0.02)  # the file is rounded to 8 bits
    assert (record["sigma_y"], record["steps"], record["task"]) == (0.05, 4, "sr4x")
    assert f"PSNR {record['psnr']:.2f} dB" in capsys.readouterr().out

    row = pixels(folder / "a_comparison.png")
    assert row.shape == (64, 3 * 96 + 2 * 8, 3)
    assert np.array_equal(row[:, :96], truth)
    assert np.array_equal(row[:, 104:200], measured.repeat(4, 0).repeat(4, 1))
    assert np.array_equal(row[:, 208:], found)
    assert (row[:, 96:104] == 255).all()


def test_simulated_noise_is_sigma_y_and_not_the_solvers(restore, tmp_path, monkeypatch):
    """The residual y - A x has the task's standard deviation, and another stream than the solver's first noise."""
    write_image(torch.zeros(3, 96, 96), tmp_path / "gray.png")
    folder = restore("denoise", "--simulate", "--input", tmp_path / "gray.png")
    noise = pixels(folder / "gray_measurement.png") / 127.5 - 1
    assert noise.std() == pytest.approx(0.05, rel=4 / math.sqrt(2 * noise.size))
    from invsolve.runtime.random_streams import NoiseStreams

    solvers = NoiseStreams(0, [stream_index("gray")])
    for _ in range(2):
        drawn = solvers((3, 96, 96))[0].permute(1, 2, 0).numpy()
        assert abs(np.corrcoef(noise.ravel(), drawn.ravel())[0, 1]) < 5 / math.sqrt(noise.size)


def test_samples_come_with_their_mean_and_deviation(restore, tmp_path, half_mask):
    image = picture(tmp_path / "a.png")
    folder = restore("inpaint_box", "--input", image, "--mask", half_mask, "--sigma", 0.05, "--samples", 3)
    names = ["mean", "restored", "sample1", "sample2", "sample3", "std"]
    assert files(folder) == [f"a_{name}.png" for name in names]
    samples = np.stack([pixels(folder / f"a_sample{k}.png") for k in (1, 2, 3)])
    assert np.array_equal(samples[0], pixels(folder / "a_restored.png"))
    assert np.abs(samples[0] - samples[1]).max() > 5
    inside = (samples > 0).all(0) & (samples < 255).all(0)  # where nothing was clipped
    assert inside.mean() > 0.3
    assert np.abs(samples.mean(0) - pixels(folder / "a_mean.png"))[inside].max() <= 1
    deviation = samples.std(0, ddof=1).mean(2) / 127.5
    shown = pixels(folder / "a_std.png") / 255 * 0.5
    gray = inside.all(2) & (deviation < 0.5)
    assert np.abs(deviation - shown)[gray].max() < 0.012  # three rounded samples, one rounded deviation


def test_results_do_not_depend_on_the_company(restore, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for k in range(3):
        picture(folder / f"b{k}.png", offset=40 * k)
    picture(folder / "wide.png", 32, 80)
    together = restore("inpaint_box", "--simulate", "--input", folder, "--batch", 8)
    pairs = restore("inpaint_box", "--simulate", "--input", folder, "--batch", 2, output="pairs")
    alone = restore("inpaint_box", "--simulate", "--input", folder / "b1.png", output="alone")
    assert files(together) == files(pairs)
    assert len(files(together)) == 4 * 4
    for name in ("b1_measurement.png", "b1_restored.png"):
        for other in (pairs, alone):
            assert np.abs(pixels(together / name) - pixels(other / name)).max() <= 1
    other_seed = restore("inpaint_box", "--simulate", "--input", folder / "b1.png", "--seed", 1, output="seed")
    assert np.abs(pixels(other_seed / "b1_restored.png") - pixels(alone / "b1_restored.png")).max() > 5


@pytest.mark.parametrize(("kept", "times"), [(2**30, 1), (0, 3)])
def test_pictures_are_read_and_operators_built_once_where_memory_allows(restore, tmp_path, monkeypatch, kept, times):
    """An operator when its first picture is read; beyond the memory to keep it again for each, and for its batch."""
    read, built, read_picture, make = [], [], observe_module.read_picture, Task.make_operator

    def noted(calls, function):
        return lambda *arguments, **others: (calls.append(1), function(*arguments, **others))[1]

    monkeypatch.setattr(restore_module, "KEPT", kept)
    monkeypatch.setattr(observe_module, "read_picture", noted(read, read_picture))
    monkeypatch.setattr(Task, "make_operator", noted(built, make))
    images = [picture(tmp_path / f"{i}.png", height) for i, height in enumerate((32, 48, 32, 48))]
    folder = restore("sr4x", "--input", *images, "--sigma", 0.05)
    assert len(files(folder)) == len(read) == len(images)
    assert (len(built) == 2) if times == 1 else (len(built) > 4)


@pytest.mark.parametrize("pixels_together", [3 * 32 * 48 + 1, 1])
@pytest.mark.parametrize("samples", [[], ["--samples", 2]], ids=["restored", "samples"])
def test_a_cpu_restores_so_many_pixels_at_a_time(restore, tmp_path, monkeypatch, pixels_together, samples):
    images = [picture(tmp_path / f"{i}.png", 32, 48, offset=40 * i) for i in range(4)]
    whole = restore("denoise", "--input", *images, "--sigma", 0.05, *samples, output="whole")
    monkeypatch.setattr(restore_module, "TOGETHER", pixels_together)
    parts = restore("denoise", "--input", *images, "--sigma", 0.05, *samples)
    for name in files(whole):
        assert np.abs(pixels(whole / name) - pixels(parts / name)).max() <= 1


def test_a_mask_says_what_is_missing(restore, tmp_path, half_mask, capsys):
    """Whatever black pixels hold makes no difference, and white ones stay as they are, to the bit."""
    image, results = pixels(picture(tmp_path / "a.png")), []
    for filler in (0, 255):
        filled = image.astype(np.uint8)
        filled[:, :32] = filler
        Image.fromarray(filled).save(tmp_path / "a.png")
        command = ["inpaint_random", "--input", tmp_path / "a.png", "--mask", half_mask]
        results.append(pixels(restore(*command, output=str(filler)) / "a_restored.png"))
        assert "a: mask: 50% observed\n" in capsys.readouterr().out
    assert np.array_equal(*results)
    assert np.array_equal(results[0][:, 32:], image[:, 32:])
    noisy = pixels(restore(*command, "--sigma", 0.05, output="noisy") / "a_restored.png")
    assert 0 < np.abs(noisy - image)[:, 32:].mean() < 3 * 0.05 * 127.5


@pytest.mark.parametrize("suffix", ["npy", "png"])
def test_a_kernel_of_ones_own(restore, tiny_prior, tmp_path, suffix):
    """A kernel file, once scaled to sum to 1, is the operator's: on a picture that does not wrap around."""
    image = picture(tmp_path / "a.png", 64, 64)
    kernel = np.array([[0, 0, 1], [1, 2, 0], [0, 0, 0.0]])
    np.save(tmp_path / "kernel.npy", 5 * kernel)
    Image.fromarray((100 * kernel).astype(np.uint8)).save(tmp_path / "kernel.png")
    wanted = deblurred(image, blur((3, 66, 66), torch.from_numpy(kernel / 4), "valid"), tiny_prior)
    how = ["--input", image, "--kernel", tmp_path / f"kernel.{suffix}", "--sigma", 0.05]
    folder = restore("deblur_gaussian", *how)
    assert np.abs(pixels(folder / "a_restored.png") - wanted[1:-1, 1:-1]).max() <= 1
    whole = restore("deblur_gaussian", *how, "--keep-margin", output="whole")
    assert np.abs(pixels(whole / "a_restored.png") - wanted).max() <= 1


def deblurred(image: Path, operator: LinearOperator, prior: Path) -> np.ndarray:
    """What `solve` makes of a picture of the name a, as pixels."""
    settings, prior = load_task("deblur_gaussian").settings(4), with_reflection(load_prior(prior))
    x = solve(read_image(image)[None], operator, prior=prior, settings=settings, indices=[stream_index("a")])
    return to_bytes(x[0]).astype(int)


@pytest.mark.parametrize("boundary", ["reflect", "circular"])
def test_a_boundary_of_ones_own(restore, tiny_prior, tmp_path, boundary):
    image = picture(tmp_path / "a.png", 64, 64)
    wanted = deblurred(image, GaussianBlur((3, 64, 64), 3.0, 61, boundary), tiny_prior)
    folder = restore("deblur_gaussian", "--input", image, "--boundary", boundary, "--sigma", 0.05)
    assert np.abs(pixels(folder / "a_restored.png") - wanted).max() <= 1


def test_nothing_is_assumed_beyond_the_edges_of_a_real_picture(restore, tiny_prior, tmp_path):
    """Of a Gaussian blur 12 pixels, 4 standard deviations, are restored there and cut off."""
    image = picture(tmp_path / "a.png", 64, 64)
    wanted = deblurred(image, GaussianBlur((3, 88, 88), 3.0, 25, "valid"), tiny_prior)
    folder = restore("deblur_gaussian", "--input", image, "--sigma", 0.05)
    assert np.abs(pixels(folder / "a_restored.png") - wanted[12:-12, 12:-12]).max() <= 1


def test_colorize_takes_gray_and_colour_pictures(restore, tmp_path):
    gray = pixels(picture(tmp_path / "colour.png")).mean(2).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    folder = restore("colorize", "--input", tmp_path / "gray.png", tmp_path / "colour.png")
    assert pixels(folder / "gray_restored.png").shape == (48, 64, 3)
    assert pixels(folder / "colour_restored.png").shape == (48, 64, 3)


def test_without_a_trunk_the_rest_goes_on(restore, tmp_path, monkeypatch, capsys):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.delenv("INVSOLVE_LPIPS_TRUNK", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", no_network)
    folder = restore("denoise", "--simulate", "--input", picture(tmp_path / "a.png"))
    assert "note: LPIPS unavailable: no download" in capsys.readouterr().err
    record = json.loads((folder / "a_metrics.json").read_text())
    assert record["lpips"] is None
    assert record["psnr"] > 0


def test_without_lpips_its_weights_are_not_asked_for(restore, tmp_path, monkeypatch, capsys):
    def refuse(*arguments: object) -> None:
        raise AssertionError("AlexNet was asked for")

    monkeypatch.setattr("invsolve.images.metrics.load_lpips", refuse)
    folder = restore("denoise", "--simulate", "--no-lpips", "--input", picture(tmp_path / "a.png"))
    record = json.loads((folder / "a_metrics.json").read_text())
    assert record["lpips"] is None
    assert record["psnr"] > 0
    printed = capsys.readouterr()
    assert "PSNR" in printed.out
    assert "LPIPS" not in printed.err


def test_lpips_is_measured_with_a_trunk(restore, tmp_path, lpips_trunk):
    image = picture(tmp_path / "a.png", 64, 64)
    folder = restore("denoise", "--simulate", "--input", image, "--lpips-trunk", lpips_trunk)
    from invsolve.images.metrics import load_lpips

    x, truth = (read_image(path)[None] for path in (folder / "a_restored.png", image))
    found = json.loads((folder / "a_metrics.json").read_text())["lpips"]
    assert found == pytest.approx(load_lpips(lpips_trunk)(x, truth)[0], abs=2e-3)


def test_tiles_and_lower_precision_change_little(restore, tmp_path):
    image = picture(tmp_path / "a.png", 48, 64)
    whole = pixels(restore("sr4x", "--input", image) / "a_restored.png")
    for option in (["--precision", "bf16"], ["--tile", 128]):
        other = pixels(restore("sr4x", "--input", image, *option, output="other") / "a_restored.png")
        assert 0 < np.abs(other - whole).max() <= 12  # of 255; its standard deviation is a tenth of that
        assert np.square(other - whole).mean() < 1


def test_a_plain_prior_leaves_over_noising_out_with_a_note(tmp_path, capsys):
    """The task's gamma and sigma_inflation are for generative denoisers."""
    torch.manual_seed(0)
    plain = tmp_path / "plain.safetensors"
    network = UNet(UNetConfig(widths=(8,), blocks=(1,)))
    save_denoiser(plain, Denoiser(network), {"license": "none", "data": "none"}, spectrum=torch.ones(64))
    image = picture(tmp_path / "a.png", 32, 32)
    command = ["run", "colorize", "--input", image, "--prior", plain, "--steps", 1, "--output", tmp_path / "out"]
    command += ["--sigma", 0.05]
    assert main([str(argument) for argument in command]) == 0
    printed = capsys.readouterr()
    note = f"note: the prior {plain} has no over-noising: the task's gamma and sigma_inflation are left out\n"
    assert printed.err.startswith(note)
    assert printed.err.count("note:") == 1
    assert "1 picture restored with 1 network evaluation in" in printed.out
    assert (tmp_path / "out" / "a_restored.png").is_file()


@pytest.mark.cuda
def test_the_device_does_not_change_the_noise(tiny_prior, tmp_path):
    image = picture(tmp_path / "a.png")
    for device in ("cpu", "cuda"):
        run(
            RunOptions("sr4x", [str(image)], tmp_path / device, prior=str(tiny_prior), device=device, precision="fp32"),
            say=lambda _: None,
        )
    cpu, cuda = (pixels(tmp_path / device / "a_restored.png") for device in ("cpu", "cuda"))
    assert np.abs(cpu - cuda).max() <= 2
