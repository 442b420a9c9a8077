"""`invsolve run` on JPEGs, posterised, clipped and low-light pictures, by the real command."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from cli_pictures import files, picture, pixels
from PIL import Image

from invsolve.cli import main
from invsolve.images.jpeg_file import read_jpeg


@pytest.fixture
def run(tiny_prior, tmp_path):
    def command(task: str, *inputs: Path, code: int = 0, options: tuple = ()) -> Path:
        arguments = ["run", task, "--input", *inputs, "--output", tmp_path / "out", "--prior", tiny_prior]
        arguments += ["--steps", 1, "--device", "cpu", *options]
        assert main([str(argument) for argument in arguments]) == code
        return tmp_path / "out"

    return command


def jpeg(path: Path, mode: str = "RGB", size: tuple[int, int] = (53, 41), **how) -> Path:
    """A piece of a photograph as a JPEG, of sides that its blocks do not fill."""
    clean = picture(path.with_suffix(".png"), size[1], size[0])
    Image.open(clean).convert(mode).save(path, "JPEG", **{"quality": 20, **how})
    clean.unlink()
    return path


def planes(path: Path) -> list[np.ndarray]:
    return list(read_jpeg(path).coefficients)


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("RGB", {"subsampling": 2}),
        ("RGB", {"subsampling": 2, "progressive": True}),
        ("L", {}),
    ],
    ids=["4:4:4", "4:2:2", "4:2:0", "progressive", "gray"],
)
def test_a_restored_jpeg_encodes_to_the_same_file(mode, how, run, tmp_path):
    source = jpeg(tmp_path / "photo.jpg", mode, **how)
    restored = run("jpeg", source) / "photo_restored.png"
    with Image.open(source) as opened, Image.open(restored) as result:
        assert result.size == opened.size
        assert result.mode == mode
        assert np.abs(np.asarray(result).astype(int) - np.asarray(opened)).max() > 3
        result.save(tmp_path / "again.jpg", qtables=opened.quantization, subsampling=how.get("subsampling", -1))
    for before, after in zip(planes(source), planes(tmp_path / "again.jpg"), strict=True):
        inside = (slice(None, -1), slice(None, -1))  # the encoder fills the last blocks in its own way
        assert (before[inside] == after[inside]).mean() >= 0.98


def test_a_jpeg_is_turned_as_its_exif_says(run, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    jpeg(tmp_path / "plain.jpg")
    jpeg(tmp_path / "turned.jpg", exif=exif)
    out = run("jpeg", tmp_path / "plain.jpg", tmp_path / "turned.jpg")
    plain, turned = pixels(out / "plain_restored.png"), pixels(out / "turned_restored.png")
    assert turned.shape == (53, 41, 3)
    with Image.open(tmp_path / "plain.jpg") as opened:
        upright = np.rot90(np.asarray(opened).astype(int), -1)
    assert np.abs(turned - upright).mean() < 1.5 * np.abs(plain - np.rot90(upright)).mean() + 1


def test_samples_of_a_jpeg(run, tmp_path):
    out = run("jpeg", jpeg(tmp_path / "photo.jpg"), options=("--samples", 2))
    assert files(out) == [f"photo_{part}.png" for part in ("mean", "restored", "sample1", "sample2", "std")]
    assert (pixels(out / "photo_sample1.png") != pixels(out / "photo_sample2.png")).any()


@pytest.fixture
def bad(tmp_path) -> dict[str, Path]:
    """Files that are no JPEGs that can be read."""
    good = jpeg(tmp_path / "good.jpg").read_bytes()
    found = {name: tmp_path / f"{name}.jpg" for name in ("cmyk", "cut", "arithmetic", "rgb")}
    jpeg(found["cmyk"], "CMYK")
    found["cut"].write_bytes(good[: len(good) // 2])
    found["arithmetic"].write_bytes(good.replace(b"\xff\xc0", b"\xff\xc9", 1))
    file = io.BytesIO()
    with Image.open(tmp_path / "good.jpg") as opened:
        opened.save(file, "JPEG", keep_rgb=True)
    found["rgb"].write_bytes(file.getvalue())
    found["png"] = picture(tmp_path / "png.png")
    found["named"] = tmp_path / "named.jpg"
    found["named"].write_bytes(found["png"].read_bytes())
    return found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cmyk", "is a JPEG with CMYK colours; it must be YCbCr or gray"),
        ("rgb", "is a JPEG with RGB colours; it must be YCbCr or gray"),
        ("cut", "cannot be read as a JPEG ("),
        ("arithmetic", "is an arithmetic-coded JPEG, which cannot be read"),
        ("png", "is not a JPEG file, whose coefficients the task needs"),
        ("named", "is not a JPEG file, whose coefficients the task needs"),
    ],
)
def test_what_is_no_jpeg_is_refused_in_one_line(name, message, bad, run, capfd):
    out = run("jpeg", bad[name], code=2)
    line = [line for line in capfd.readouterr().err.splitlines() if line.startswith("invsolve: error")]
    assert len(line) == 1
    assert message in line[0]
    assert files(out) == []


def test_a_posterised_picture_keeps_its_levels(run, tmp_path):
    clean = pixels(picture(tmp_path / "clean.png"))
    coarse = np.round(np.round(clean / 255 * 7) / 7 * 255).astype(np.uint8)
    Image.fromarray(coarse).save(tmp_path / "coarse.png")
    restored = pixels(run("dequantize", tmp_path / "coarse.png") / "coarse_restored.png")
    assert np.abs(restored - coarse).max() <= 255 / 14 + 1.5
    assert (restored != coarse).any()


def test_a_picture_of_other_levels_is_noted(run, tmp_path, capfd):
    run("dequantize", picture(tmp_path / "clean.png"))
    assert "values are none of 8 levels from black to white" in capfd.readouterr().err


@pytest.mark.parametrize("task", ["jpeg", "dequantize", "declip", "poisson"])
def test_a_simulation_measures_what_it_restores(task, run, tmp_path, capfd):
    out = run(task, picture(tmp_path / "clean.png", 48, 64), options=("--simulate",))
    expected = [f"clean_{part}" for part in ("comparison.png", "measurement.png", "metrics.json", "restored.png")]
    assert files(out) == expected
    assert "PSNR" in capfd.readouterr().out
    assert (pixels(out / "clean_measurement.png") != pixels(tmp_path / "clean.png")).any()


def test_a_dark_picture_and_another_gain(run, tmp_path):
    dark = picture(tmp_path / "dark.png")
    first = pixels(run("poisson", dark) / "dark_restored.png")
    second = pixels(run("poisson", dark, options=("--set", "noise.gain=3")) / "dark_restored.png")
    assert (first != second).any()


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("poisson", ("--sigma", "0.1"), "the task poisson takes no --sigma"),
        ("jpeg", ("--sigma", "0.1"), "the task jpeg takes no --sigma"),
        ("poisson", ("--set", "noise.gain=0"), "gain is 0 but must be finite and above 0"),
        ("poisson", ("--set", "sigma_y=0.1"), "unknown parameter 'sigma_y'"),
        ("dequantize", ("--set", "noise.levels=1"), "levels is 1 but must be at least 2"),
        ("jpeg", ("--simulate", "--set", "operator.quality=0"), "quality is 0 but must be at least 1"),
    ],
)
def test_bad_options_are_refused_in_one_line(task, options, message, run, tmp_path, capfd):
    run(task, picture(tmp_path / "clean.png"), code=2, options=options)
    assert message in capfd.readouterr().err
