"""What `invsolve bench` measures: against other ways of computing the same, whatever the layout and the batch."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_cases import SIZE, assert_same_figures, figures, photograph, write_pictures
from PIL import Image
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
    assert_same_figures(bench("thousands", "--data", thousands, "--reduce", 4), undisturbed)


def test_pictures_are_reduced_by_the_mean_over_blocks_and_then_cropped_never_stretched(tmp_path):
    write_image(read_image("skimage:astronaut")[:, :65, :50], tmp_path / "large.png")
    whole = read_image(tmp_path / "large.png").numpy()
    mean = whole[:, :64, :].reshape(3, 32, 2, 25, 2).mean((2, 4))
    reduced = Pictures(tmp_path, reduce=2)
    assert (reduced.sizes, reduced.file_sizes) == ({"large": (32, 25)}, {"50x65": 1})
    assert np.abs(reduced.read("large").numpy() - mean).max() < 1e-6
    both = Pictures(tmp_path, size=10, reduce=2)
    assert both.sizes == {"large": (10, 10)}
    assert np.abs(both.read("large").numpy() - mean[:, 11:21, 7:17]).max() < 1e-6
    assert np.array_equal(Pictures(tmp_path).read("large").numpy(), whole)


def test_a_size_is_that_of_the_picture_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.new("RGB", (20, 30)).save(tmp_path / "lies.jpg", exif=exif)
    pictures = Pictures(tmp_path)
    assert pictures.sizes["lies"] == tuple(pictures.read("lies").shape[1:]) == (20, 30)


@pytest.mark.parametrize(
    ("shape", "found", "more", "wanted"),
    [
        ((64, 31), "31x64", (), "at least 32 pixels a side for --size 32"),
        ((64, 64), "64x64", ("--reduce", 3), "at least 96 pixels a side for --size 32 (--reduce 3)"),
    ],
)
def test_a_picture_too_small_for_the_crop_is_refused(shape, found, more, wanted, bench, tmp_path, capsys):
    write_image(torch.zeros(3, *shape), tmp_path / "odd.png")
    assert main(bench.arguments("odd", "--data", tmp_path, *more)) == 2
    expected = f"{tmp_path}/odd.png: is {found} but must have {wanted}"
    assert capsys.readouterr().err == f"invsolve: error: {expected}\n"
    assert not (bench.folder / "odd").exists()


@pytest.fixture(scope="module")
def mixed(bench, tmp_path_factory) -> Path:
    """Pictures on end and on their side, of sides that are no multiples of 4, between ones of 32 pixels."""
    folder = tmp_path_factory.mktemp("mixed")
    image = read_image("skimage:astronaut")
    for name, (height, width) in {"a": (45, 38), "b": (38, 45), "c": (32, 32), "d": (45, 38)}.items():
        write_image(image[:, 60 : 60 + height, 180 : 180 + width], folder / f"{name}.png")
    return folder


def test_pictures_of_mixed_sizes_are_restored_whole_in_one_run(bench, mixed, tmp_path):
    """Each as alone, whatever the batch; for 4x super-resolution less the pixels that are no multiple of 4."""
    arguments = bench.arguments("mixed", "--data", mixed, "--batch", 4)
    del arguments[(at := arguments.index("--size")) : at + 2]
    assert main(arguments) == 0
    out = bench.folder / "mixed"
    rows = figures(out)
    sizes = {key[0] + key[2]: (row["width"], row["height"]) for key, row in rows.items()}
    whole = {"a": (38, 45), "b": (45, 38), "c": (32, 32), "d": (38, 45)}
    assert sizes == {"inpaint_random" + name: size for name, size in whole.items()} | {
        "sr4x" + name: (width - width % 4, height - height % 4) for name, (width, height) in whole.items()
    }
    record = json.loads((out / "run.json").read_text())
    assert record["sizes"] == {"38x45": 2, "45x38": 1, "32x32": 1}
    assert (record["options"]["size"], record["options"]["reduce"]) == (None, 1)
    truth = read_image(out / "pictures" / "sr4x" / "a" / "truth.png")
    assert torch.equal(truth, read_image(mixed / "a.png")[:, :44, :36])
    shutil.copy(mixed / "d.png", tmp_path / "d.png")
    arguments[arguments.index("--data") + 1], arguments[arguments.index("--out") + 1] = (
        str(tmp_path),
        str(tmp_path / "o"),
    )
    assert main(arguments) == 0
    alone = figures(tmp_path / "o")
    for key, row in alone.items():
        assert row["psnr"] == pytest.approx(rows[key]["psnr"], abs=1e-3)


def test_tasks_whose_measurements_are_no_pictures_show_their_estimates(bench, mixed):
    """A JPEG's coefficients are shown decoded; its blocks take multiples of 16 pixels."""
    tasks = ("--tasks", "jpeg,declip,dequantize,poisson", "--methods", "baseline,baselines,ncvsd", "--limit", 1)
    arguments = bench.arguments("other", "--data", mixed, *tasks)
    del arguments[(at := arguments.index("--size")) : at + 2]
    assert main(arguments) == 0
    rows = figures(bench.folder / "other")
    simple = {"jpeg": "estimate", "declip": "estimate", "dequantize": "measurement", "poisson": "measurement"}
    for task, name in simple.items():
        assert rows[task, f"baseline:{name}", "a"]["psnr"] == rows[task, "baseline", "a"]["psnr"] > 14
        width, height = (32, 32) if task == "jpeg" else (38, 45)
        assert {(row["width"], row["height"]) for key, row in rows.items() if key[0] == task} == {(width, height)}
    folder = bench.folder / "other" / "pictures" / "jpeg" / "a"
    assert torch.equal(read_image(folder / "measurement.png"), read_image(folder / "baseline.png"))
    assert read_image(folder / "truth.png").shape == (3, 32, 32)


def test_settings_chosen_for_each_size_are_recorded_by_size_and_may_come_later(bench, mixed, tmp_path, capsys):
    """Of the first picture's size alone at first. What changes at a size that has results is refused."""
    task = "name: own\ndescription: x\noperator: {type: inpaint_box, box: 0.5}\nsigma_y: 0.05\n"  # without settings
    (tmp_path / "own.yaml").write_text(task)
    whole = ("--data", mixed, "--tasks", f"{tmp_path / 'own.yaml'},sr4x", "--methods", "ncvsd")
    arguments = bench.arguments("sized", *whole, "--limit", 1)
    del arguments[(at := arguments.index("--size")) : at + 2]
    path = bench.folder / "sized" / "run.json"

    def definitions() -> dict:
        return json.loads(path.read_text())["definitions"]["ncvsd"]

    assert main(arguments) == 0
    first = definitions()
    assert "sigma_max" in first["own"]
    more = [*arguments, "--limit", "4"]
    assert main(more) == 0
    grown = definitions()
    assert list(grown["own"]) == ["38x45", "45x38", "32x32"]
    assert grown["own"]["38x45"] == first["own"]
    assert len({definition["sigma_max"] for definition in grown["own"].values()}) > 1
    assert grown["sr4x"] == first["sr4x"]  # tuned, whatever the size
    assert main(more) == 0
    record = json.loads(path.read_text())
    record["definitions"]["ncvsd"]["own"]["45x38"]["sigma_max"] += 1
    path.write_text(json.dumps(record))
    capsys.readouterr()
    assert main(more) == 2
    assert "holds results of ncvsd at own by other settings or weights (sigma_max was " in capsys.readouterr().err


def test_the_size_of_older_records_stands_for_what_it_did(bench, undisturbed, capsys):
    """Then larger pictures were averaged down to it; of pictures of that size nothing has changed."""
    for name, size in (("same", SIZE), ("larger", 16)):
        out = shutil.copytree(undisturbed, bench.folder / name)
        record = json.loads((out / "run.json").read_text())
        del record["sizes"], record["options"]["reduce"]
        record["options"]["size"] = size
        (out / "run.json").write_text(json.dumps(record))
    assert_same_figures(bench("same"), undisturbed, tolerance=0)
    arguments = bench.arguments("same")
    del arguments[(at := arguments.index("--size")) : at + 2]
    assert main(arguments) == 0  # whole, they are of that size, too
    capsys.readouterr()
    assert main(bench.arguments("larger", "--size", 16)) == 2
    expected = "its pictures of 32x32 pixels were restored at 16x16 after --reduce 2 and now are restored at 16x16"
    assert expected in capsys.readouterr().err


def test_two_pictures_of_one_name_are_refused(tmp_path):
    write_pictures(tmp_path / "a", 1)
    write_pictures(tmp_path / "b", 1)
    with pytest.raises(ValueError, match=r"a/00000\.png and b/00000\.png have one name, 00000"):
        Pictures(tmp_path)


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
        (
            ["--methods", "baseline:4"],
            "baseline:4 at sr4x: no baseline '4'; expected one of bicubic, lanczos, least_squares, tv",
        ),
        (["--methods", "baseline:bicubik"], "baseline:bicubik at sr4x: no baseline 'bicubik'; did you mean 'bicubic'?"),
        (
            ["--methods", "baseline:wiener"],
            "baseline:wiener at sr4x: is made for gaussian_blur, motion_blur with white noise, but sr4x has bicubic, ",
        ),
        (
            ["--tasks", "reflect.yaml", "--methods", "baseline:wiener"],
            "baseline:wiener at reflect: needs a blur of the whole picture that goes on at its opposite edge",
        ),
        (
            ["--denoiser", "default"],
            "--denoiser default: is a generative denoiser but must be a plain one, as teacher is",
        ),
        (["--tasks", "sr4"], "no task 'sr4'; did you mean 'sr4x'?"),
        (["--tasks", ""], "--tasks: the list is empty"),
        (["--methods", " ,"], "--methods: the list is empty"),
        (["--tasks", "all"], "deblur_motion of pictures of 32x32 pixels: kernel is 61x61 but the image is only 32x32"),
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
