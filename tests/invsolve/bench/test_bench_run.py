"""What `invsolve bench` measures: against other ways of computing the same, whatever the layout and the batch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_cases import SIZE, assert_same_figures, figures, photograph, write_pictures
from scipy.stats import t as student

from invsolve.bench.pictures import Pictures
from invsolve.cli import main
from invsolve.images.files import read_image, write_image

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_picture_is_restored_by_every_method_at_every_task(undisturbed):
    names = [f"{i:05d}" for i in range(5)]
    methods = {"baseline": (0, 0), "ncvsd": (4, 4), "teacher:2": (2, 2)}
    rows = figures(undisturbed)
    assert set(rows) == {(task, m, name) for task in ("sr4x", "inpaint_random") for m in methods for name in names}
    for (_, method, name), row in rows.items():
        assert (row["steps"], row["evaluations"]) == methods[method]
        assert (row["index"], row["seed"]) == (int(name), 0)
        assert 5 < row["psnr"] < 40
        assert row["lpips"] > 0


def test_a_picture_scores_as_by_the_run_command(bench, undisturbed, tmp_path):
    command = ["run", "sr4x", "--simulate", "--input", bench.pictures / "00003.png", "--prior", bench.prior]
    command += ["--output", tmp_path, "--device", "cpu", "--lpips-trunk", bench.folder / "trunk.safetensors"]
    assert main([str(argument) for argument in command]) == 0
    expected = json.loads((tmp_path / "00003_metrics.json").read_text())
    row = figures(undisturbed)["sr4x", "ncvsd", "00003"]
    assert [row[name] for name in ("psnr", "ssim", "lpips")] == pytest.approx(
        [expected[name] for name in ("psnr", "ssim", "lpips")], rel=1e-6
    )


def test_pictures_of_the_first_images_are_written(bench, undisturbed):
    folder = undisturbed / "pictures" / "sr4x"
    assert [path.name for path in folder.iterdir()] == ["00000"]
    names = sorted(path.name for path in (folder / "00000").iterdir())
    assert names == ["baseline.png", "measurement.png", "ncvsd.png", "teacher_2.png", "truth.png"]
    truth, restored = (read_image(folder / "00000" / name) for name in ("truth.png", "ncvsd.png"))
    assert torch.equal(truth, read_image(bench.pictures / "00000.png"))
    psnr = 10 * np.log10(4 / float((restored - truth).square().mean()))
    assert psnr == pytest.approx(figures(undisturbed)["sr4x", "ncvsd", "00000"]["psnr"], abs=0.02)  # 8 bits


def test_neither_the_batch_nor_the_limit_changes_a_picture(bench, undisturbed):
    assert_same_figures(bench("batch", "--batch", 4), undisturbed)
    limited = figures(bench("limited", "--limit", 2, "--batch", 2))
    assert {key[2] for key in limited} == {"00000", "00001"}
    expected = figures(undisturbed)
    for key, row in limited.items():
        assert row["psnr"] == pytest.approx(expected[key]["psnr"], abs=1e-3)


def test_every_layout_of_ffhq_gives_the_same(bench, undisturbed):
    """A zip file, folders of a thousand, and pictures of four times the size that are reduced by area."""
    packed, thousands = bench.folder / "flat.zip", bench.folder / "thousands"
    with zipfile.ZipFile(packed, "w") as archive:
        for i in range(5):
            archive.write(bench.pictures / f"{i:05d}.png", f"thumbnails/{i // 3:02d}000/{i:05d}.png")
        archive.writestr("LICENSE.txt", "none")
    for i in range(5):
        (thousands / f"{i // 3:02d}000").mkdir(parents=True, exist_ok=True)
        large = photograph(i).repeat_interleave(4, 1).repeat_interleave(4, 2)
        write_image(large, thousands / f"{i // 3:02d}000" / f"{i:05d}.png")
    assert_same_figures(bench("zip", "--data", packed), undisturbed, tolerance=0)
    assert_same_figures(bench("thousands", "--data", thousands), undisturbed)


def test_pictures_are_reduced_by_the_mean_over_blocks(tmp_path):
    write_image(photograph(0, 2 * SIZE), tmp_path / "large.png")
    whole = read_image(tmp_path / "large.png").numpy()
    mean = whole.reshape(3, SIZE, 2, SIZE, 2).mean((2, 4))
    assert np.abs(Pictures(tmp_path, SIZE).read("large").numpy() - mean).max() < 1e-6


@pytest.mark.parametrize(
    ("shape", "found"), [((64, 32), "32x64"), ((48, 48), "48x48"), ((16, 16), "16x16")], ids=lambda value: str(value)
)
def test_a_picture_of_another_shape_is_refused(shape, found, bench, tmp_path, capsys):
    write_image(torch.zeros(3, *shape), tmp_path / "odd.png")
    assert main(bench.arguments("odd", "--data", tmp_path)) == 2
    expected = f"{tmp_path}/odd.png: is {found} but must be square with a side that is a multiple of 32 (--size)"
    assert capsys.readouterr().err == f"invsolve: error: {expected}\n"
    assert not (bench.folder / "odd").exists()


def test_two_pictures_of_one_name_are_refused(tmp_path):
    write_pictures(tmp_path / "a", 1)
    write_pictures(tmp_path / "b", 1)
    with pytest.raises(ValueError, match=r"a/00000\.png and b/00000\.png have one name, 00000"):
        Pictures(tmp_path, SIZE)


def test_means_and_intervals_are_those_of_the_lines(bench, undisturbed, capsys):
    summary = json.loads((undisturbed / "summary.json").read_text())
    entry = next(e for e in summary["entries"] if (e["task"], e["method"]) == ("sr4x", "ncvsd"))
    rows = [row for key, row in figures(undisturbed).items() if key[:2] == ("sr4x", "ncvsd")]
    for name in ("psnr", "ssim", "lpips"):
        low, high = student.interval(0.95, 4, *_mean_and_error([row[name] for row in rows]))
        assert entry[name]["mean"] == pytest.approx((low + high) / 2, rel=1e-9)
        assert entry[name]["half"] == pytest.approx((high - low) / 2, rel=1e-9)
    assert (entry["images"], entry["evaluations"]) == (5, 4)

    capsys.readouterr()
    bench("undisturbed")  # nothing is missing: the table comes again
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| sr4x | ncvsd")]
    assert table[0][3] == f"{entry['psnr']['mean']:.2f} ± {entry['psnr']['half']:.2f}"


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def write_reflect(folder: Path) -> Path:
    """A blur whose singular values are not known: the picture goes on beyond its edges as in a mirror."""
    operator = "{type: motion_blur, size: 5, intensity: 0.5, boundary: reflect}"
    content = f"name: reflect\ndescription: x\noperator: {operator}\nsigma_y: 0.05\nsettings: [{{steps: 1}}]\n"
    (folder / "reflect.yaml").write_text(content)
    return folder / "reflect.yaml"


def test_methods_that_need_no_spectrum_take_any_operator(bench, tmp_path):
    methods = "baseline,ncvsd,diffpir:2,pigdm:2,dps:2"
    out = bench("reflect", "--tasks", write_reflect(tmp_path), "--methods", methods, "--limit", 1)
    assert {method for _, method, _ in figures(out)} == set(methods.split(","))


def test_all_in_a_list_of_tasks_stands_for_the_shipped_ones(bench, tmp_path, monkeypatch):
    shipped = ["colorize", "denoise", "inpaint_box"]
    monkeypatch.setattr("invsolve.bench.runner.list_tasks", lambda: shipped)
    tasks = f"denoise,{write_reflect(tmp_path)},all,denoise"
    out = bench("all", "--tasks", tasks, "--methods", "baseline", "--limit", 1)
    assert json.loads((out / "run.json").read_text())["tasks"] == ["denoise", "reflect", "colorize", "inpaint_box"]
    assert {task for task, _, _ in figures(out)} == {"reflect", *shipped}


def test_a_plain_denoiser_can_draw_by_reverse_diffusion(bench):
    out = bench("diffusion", "--tasks", "denoise", "--methods", "teacher-diffusion:3,teacher", "--limit", 1)
    rows = figures(out)
    assert rows["denoise", "teacher-diffusion:3", "00000"]["evaluations"] == 12
    assert rows["denoise", "teacher-diffusion:3", "00000"]["psnr"] != rows["denoise", "teacher", "00000"]["psnr"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "ncvds"], "no method 'ncvds'; did you mean 'ncvsd'?"),
        (["--methods", "ncvsd:four"], "method 'ncvsd:four': 'four' is not a number of steps"),
        (["--methods", "baseline:4"], "method 'baseline:4': the baseline takes no number of steps"),
        (
            ["--denoiser", "default"],
            "--denoiser default: is a generative denoiser but must be a plain one, as teacher is",
        ),
        (["--tasks", "sr4"], "no task 'sr4'; did you mean 'sr4x'?"),
        (["--tasks", ""], "--tasks: the list is empty"),
        (["--methods", " ,"], "--methods: the list is empty"),
        (["--tasks", "all"], "deblur_motion at --size 32: kernel is 61x61 but the image is only 32x32"),
        (
            ["--tasks", "sr4x,reflect.yaml", "--methods", "baseline,ddrm:3"],
            "ddrm:3 at reflect: the spectrum of Convolution is not known",
        ),
        (["--tasks", "reflect.yaml", "--methods", "ddnm"], "ddnm at reflect: the spectrum of Convolution is not known"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(options, message, bench, tmp_path, monkeypatch, capsys):
    write_reflect(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(bench.arguments("refused", *options)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"invsolve: error: {message}")
    assert error.count("\n") == 1
    assert not (bench.folder / "refused").exists()
