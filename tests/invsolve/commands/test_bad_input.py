"""Bad input gets one line on stderr and exit code 2, and leaves no file behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cli_pictures import picture

from invsolve.cli import main
from invsolve.images.files import write_image

LONG = f"{'a' * 250}.png"  # with "_restored" it has more than the 255 bytes of most file systems

BAD = {
    "missing picture": (["sr4x", "--input", "gone.png"], "gone.png: no such file"),
    "unreadable picture": (["sr4x", "--input", "text.png"], "text.png: cannot be read as a picture"),
    "truncated picture": (["sr4x", "--input", "cut.png"], "cut.png: cannot be read as a picture"),
    "empty directory": (["sr4x", "--input", "empty"], "empty: no pictures"),
    "unknown packaged picture": (["sr4x", "--input", "skimage:none"], "no packaged picture of this name"),
    "same names": (["sr4x", "--input", "good.png", "more/good.jpg"], "would both write good_restored.png"),
    "unknown task": (["sr5x", "--input", "good.png"], "no task 'sr5x'; did you mean 'sr4x'?"),
    "unknown task key": (["key.yaml", "--input", "good.png"], "key.yaml: unknown key 'sigma'"),
    "negative sigma": (["negative.yaml", "--input", "good.png"], "sigma_y is -1 but must be"),
    "nan sigma": (["nan.yaml", "--input", "good.png"], "sigma_y is nan but must be"),
    "no mask": (["inpaint_random", "--input", "good.png"], "needs --mask FILE"),
    "mask of another size": (
        ["inpaint_box", "--input", "good.png", "--mask", "small.png"],
        "mask is 8x8 but the image is 48x64",
    ),
    "mask that is a photograph": (["inpaint_box", "--input", "good.png", "--mask", "good.png"], "are neither"),
    "mask that is text": (["inpaint_box", "--input", "good.png", "--mask", "text.png"], "cannot be read"),
    "mask that is missing": (["inpaint_box", "--input", "good.png", "--mask", "gone.png"], "no such file"),
    "mask for no inpainting": (["sr4x", "--input", "good.png", "--mask", "small.png"], "takes no --mask"),
    "kernel of the wrong type": (["deblur_gaussian", "--input", "good.png", "--kernel", "three.npy"], "a 2-D array"),
    "kernel too large": (
        ["deblur_gaussian", "--input", "small.png", "--kernel", "good.png", "--boundary", "reflect"],
        "kernel is 48x64 but the image is only 8x8",
    ),
    "kernel that is nan": (["deblur_gaussian", "--input", "good.png", "--kernel", "nan.npy"], "finite real numbers"),
    "kernel for no deblurring": (["denoise", "--input", "good.png", "--kernel", "good.png"], "takes no --kernel"),
    "boundary for no deblurring": (["denoise", "--input", "good.png", "--boundary", "zero"], "takes no --boundary"),
    "unknown boundary": (["deblur_motion", "--input", "good.png", "--boundary", "x"], "argument --boundary: invalid"),
    "small picture": (
        ["deblur_motion", "--simulate", "--input", "small.png"],
        "kernel is 61x61 but the image is only 8x8",
    ),
    "no kernel": (["deblur_motion", "--input", "good.png"], "deblur_motion needs --kernel FILE"),
    "no mask for a box": (["inpaint_box", "--input", "good.png"], "good.png: needs --mask FILE"),
    "mask and colour": (
        ["inpaint_box", "--input", "good.png", "--mask", "small.png", "--mask-color", "red"],
        "give one of them",
    ),
    "mask that is no colour": (["inpaint_box", "--input", "good.png", "--mask-color", "#12"], "'#12': is no colour"),
    "colour that is not there": (
        ["inpaint_box", "--input", "good.png", "--mask-color", "#00ff00"],
        "has no pixel of this colour",
    ),
    "colour of a simulation": (
        ["inpaint_box", "--simulate", "--input", "good.png", "--mask-color", "red"],
        "takes no --mask-color with --simulate",
    ),
    "inverted for no inpainting": (["sr4x", "--input", "good.png", "--invert-mask"], "takes no --invert-mask"),
    "no mask of the name": (["inpaint_box", "--input", "good.png", "--mask", "empty"], "no masks of the name good"),
    "sigma": (["denoise", "--input", "good.png", "--sigma", "25"], "the noise level is 25.0 but must be"),
    "sigma that is no number": (
        ["denoise", "--input", "good.png", "--sigma", "x/255"],
        "must be auto, a number or N/255",
    ),
    "factor for no enlarging": (["denoise", "--input", "good.png", "--factor", "2"], "takes no --factor"),
    "factor 0": (["sr4x", "--input", "good.png", "--set", "operator.factor=0"], "factor is 0 but must be at least 1"),
    "outscale below 1": (["sr4x", "--input", "good.png", "--outscale", "0.5"], "argument --outscale: it is 0.5 but"),
    "unknown parameter": (
        ["sr4x", "--input", "good.png", "--set", "operator.facter=2"],
        "unknown parameter 'operator.facter'; did you mean 'operator.factor'?",
    ),
    "parameter without a value": (["sr4x", "--input", "good.png", "--set", "factor"], "expected NAME=VALUE"),
    "margin where there is none": (
        ["deblur_gaussian", "--input", "good.png", "--boundary", "zero", "--keep-margin"],
        "at boundary zero the picture has no margin",
    ),
    "one file for several": (
        ["sr4x", "--input", "good.png", "small.png", "--output", "x.png"],
        "--output x.png names one file but there are 2 pictures",
    ),
    "results alone": (["sr4x", "--input", "results", "--recursive"], "no pictures in this directory but results"),
    "steps 0": (["sr4x", "--input", "good.png", "--steps", "0"], "argument --steps: it is 0 but must be at least 1"),
    "samples 1": (
        ["sr4x", "--input", "good.png", "--samples", "1"],
        "argument --samples: it is 1 but must be at least 2",
    ),
    "batch 0": (["sr4x", "--input", "good.png", "--batch", "0"], "argument --batch: it is 0 but must be at least 1"),
    "seed": (["sr4x", "--input", "good.png", "--seed", "x"], "argument --seed: it is 'x' but must be an integer"),
    "device": (["sr4x", "--input", "good.png", "--device", "tpu"], "argument --device: invalid choice: 'tpu'"),
    "precision": (
        ["sr4x", "--input", "good.png", "--precision", "int8"],
        "argument --precision: invalid choice: 'int8'",
    ),
    "tile": (["sr4x", "--input", "good.png", "--tile", "30"], "tiles are 30 pixels a side but must be a multiple of 4"),
    "graphs": (["sr4x", "--input", "good.png", "--cuda-graphs", "--device", "cpu"], "CUDA graphs were asked for but"),
    "unknown prior": (["sr4x", "--input", "good.png", "--prior", "best"], "no prior named 'best'"),
    "truncated prior": (["sr4x", "--input", "good.png", "--prior", "cut.safetensors"], "cut.safetensors"),
    "foreign prior": (["sr4x", "--input", "good.png", "--prior", "foreign.safetensors"], "not one of ours"),
    "prior that is a picture": (["sr4x", "--input", "good.png", "--prior", "good.png"], "good.png is not a readable"),
    "missing trunk": (["sr4x", "--simulate", "--input", "good.png", "--lpips-trunk", "gone"], "gone: no such file"),
    "output is a file": (["sr4x", "--input", "good.png", "--output", "notes"], "notes is not a directory"),
    "output in a file": (["sr4x", "--input", "good.png", "--output", "notes/a"], "notes is not a directory"),
    "output over an input": (
        ["sr4x", "--input", "more/good.jpg", "more/good_restored.png", "--output", "more"],
        "is an input and would be overwritten",
    ),
    "output over a mask": (
        ["inpaint_box", "--input", "more/good.jpg", "--mask", "more/good_restored.png", "--output", "more"],
        "is an input and would be overwritten",
    ),
    "output over a kernel": (
        ["deblur_gaussian", "--input", "more/good.jpg", "--kernel", "more/good_restored.png", "--output", "more"],
        "is an input and would be overwritten",
    ),
    "output over a directory": (
        ["sr4x", "--input", "good.png", "--output", "taken"],
        "good_restored.png is a directory and would be overwritten",
    ),
    "output of too long a name": (["sr4x", "--input", LONG], "_restored.png cannot be written: "),
}


@pytest.fixture(scope="module")
def bad_files(tiny_prior, tmp_path_factory) -> Path:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("bad")
    good = picture(folder / "good.png")
    write_image(torch.ones(1, 8, 8), folder / "small.png")
    (folder / "text.png").write_text("not a picture")
    (folder / "cut.png").write_bytes(good.read_bytes()[:2000])
    (folder / "notes").write_text("a file")
    (folder / "empty").mkdir()
    (folder / "results" / "out").mkdir(parents=True)
    (folder / "results" / "out" / "good.png").write_bytes(good.read_bytes())
    (folder / "taken" / "good_restored.png").mkdir(parents=True)
    (folder / LONG).write_bytes(good.read_bytes())
    (folder / "more").mkdir()
    for name in ("good.jpg", "good_restored.png"):
        (folder / "more" / name).write_bytes(good.read_bytes())
    task = (Path(__file__).resolve().parents[3] / "tasks" / "sr4x.yaml").read_text()
    (folder / "key.yaml").write_text(task + "sigma: 0.05\n")
    (folder / "negative.yaml").write_text(task.replace("sigma_y: 0.05", "sigma_y: -1"))
    (folder / "nan.yaml").write_text(task.replace("sigma_y: 0.05", "sigma_y: .nan"))
    np.save(folder / "three.npy", np.ones((3, 3, 3)))
    np.save(folder / "nan.npy", np.full((3, 3), np.nan))
    (folder / "cut.safetensors").write_bytes(tiny_prior.read_bytes()[:5000])
    save_file({"weight": torch.zeros(3)}, folder / "foreign.safetensors")
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, bad_files, tiny_prior, monkeypatch, capsys):
    arguments, message = BAD[case]
    monkeypatch.chdir(bad_files)
    before = sorted(bad_files.rglob("*"))
    extra = [] if "--output" in arguments else ["--output", "results/out" if "results" in arguments else "out"]
    extra += [] if "--prior" in arguments else ["--prior", str(tiny_prior)]
    try:
        code = main(["run", *arguments, *extra])
    except SystemExit as exit_:  # argparse's way
        code = exit_.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.err.startswith("invsolve: error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert sorted(bad_files.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_asked_for_where_there_is_none(tmp_path, capsys):
    out = tmp_path / "out"
    code = main(["run", "sr4x", "--device", "cuda", "--output", str(out), "--input", str(picture(tmp_path / "a.png"))])
    assert code == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["run", "sr4x"], ["restore"], []], ids=str)
def test_bad_arguments_exit_with_2_and_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    printed = capsys.readouterr()
    assert (exit_.value.code, printed.out) == (2, "")
    assert printed.err.startswith("invsolve: error: ")
    assert printed.err.count("\n") == 1
