"""Every command in the documents: all are read by the programs' own parsers, and what can run here runs, made small."""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench_cases import write_denoiser
from benchmark_scripts import load_script
from document_cases import DOCUMENTS, ROOT, Command, commands
from PIL import Image
from training_cases import SHORT, STUDENT, TEACHER, TUNING, write

from invsolve.cli import _parser, main
from invsolve.commands.arguments import options_from
from invsolve.images.files import read_image, write_image
from invsolve.peers import PEERS
from invsolve.specs.options import BenchOptions, RunOptions
from invsolve.specs.recipe import (
    RECIPES,
    CalibrateConfig,
    DistillConfig,
    FinetuneConfig,
    TrainConfig,
    find_recipe,
    load_config,
)

ALL = [command for document in DOCUMENTS for command in commands(document)]
OPTIONS = {"run": RunOptions, "bench": BenchOptions}
CONFIGS = {"train": TrainConfig, "distill": DistillConfig, "finetune": FinetuneConfig, "calibrate": CalibrateConfig}
TINY = {
    "train": {**TEACHER, "images": 64, "snapshot_every": 4, "checkpoint_every": 4},
    "distill": {**STUDENT, "ema": [0.1, 0.05]},
    "finetune": TUNING,
    "calibrate": {**SHORT, "images": 80, "patches": [1, 4], "scales": [1, 2, 4]},
}
NOT_RUN = {  # what is read only, and why
    r"\bapp\b": "serves until it is stopped; the tests of the page start it",
    r"ncvsd-ffhq256\b|\.pkl\b": "a published file, downloaded or given; tests/invsolve/foreign have replicas",
}


class ReadError(Exception):
    """Raised in place of a script's work, once its arguments have been read."""


def test_the_documents_have_commands():
    """So that a change of how they are written does not leave nothing to test."""
    shown = {word for command in ALL for word in command.words[:3]}
    assert {"make", "pip", "torchrun", "run", "bench", "train", "distill", "finetune", "calibrate", "ema"} <= shown
    assert len(ALL) > 40


@pytest.mark.parametrize("command", ALL, ids=str)
def test_the_program_takes_the_command(command, monkeypatch):
    words = command.words
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] == "pip":
        extras = re.findall(r"\.\[(\w+)\]", command.text)
        assert words[1] == "install"
        assert all(
            re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE) for extra in extras
        )
    elif words[0].startswith("python"):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [Path(words[1]).name, *words[2:]])
        read = argparse.ArgumentParser.parse_args

        def parse_args(self, *arguments, **more):
            read(self, *arguments, **more)
            raise ReadError

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(ReadError):
            load_script(Path(words[1]).stem).main()
    else:
        arguments = invsolve_arguments(command)
        found = _parser().parse_args(arguments)
        if arguments[0] in OPTIONS:
            options_from(found, OPTIONS[arguments[0]])
        if arguments[0] in CONFIGS:
            load_config(find_recipe(found.config, arguments[0]), CONFIGS[arguments[0]])


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_prior, lpips_trunk) -> Path:
    """A folder to run in, with the files that the documents name."""
    monkeypatch.chdir(tmp_path)
    photograph = read_image("skimage:astronaut")[:, 40:104, 180:244]
    for name in ("small.png", "clean.png", "scratched.png", "blurred/a.png", "blurred/more/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(photograph, tmp_path / name)
    picture = Image.open("small.png")
    picture.save("small.jpg")
    picture.save("photo.jpg", quality=30)
    picture.save("noisy.tiff")
    write_image((read_image("small.png")[:1] > 0).float() * 2 - 1, "mask.png")
    kernel = Image.new("L", (5, 5))
    kernel.putpixel((2, 2), 255)
    kernel.putpixel((3, 2), 255)
    kernel.save("kernel.png")
    for folder in ("faces", "photos", "ffhq256", "FFHQ/test", "KODAK24"):
        Path(folder).mkdir(parents=True)
        for i in range(6):
            write_image(read_image("skimage:astronaut")[:, 30 * i : 30 * i + 64, 180:244], Path(folder, f"{i:05d}.png"))
    write_denoiser(tmp_path / "denoiser.safetensors")
    for name, recipe in TINY.items():
        write(tmp_path / f"{name}.yaml", recipe)
    return tmp_path


def run(command: Command, prior: Path) -> None:
    """Run a command of ``invsolve`` in this process, with small settings in place of those that take hours."""
    arguments = made_small(invsolve_arguments(command), prior)
    assert main(arguments) == 0, arguments


def invsolve_arguments(command: Command) -> list[str]:
    """What follows the word invsolve, under ``torchrun`` too."""
    words = command.words
    return words[words.index("invsolve") + 1 :]


def made_small(arguments: list[str], prior: Path) -> list[str]:
    name, changes = arguments[0], {}
    if name in CONFIGS:
        arguments = [name, f"{name}.yaml", *(arguments[2:] if arguments[1] in RECIPES else arguments[1:])]
        arguments = [argument.replace("NAME", "runs/teacher/denoiser-ema0.05.safetensors") for argument in arguments]
        if continued(arguments):  # another training than the one it goes on from
            changes = {"--out": f"runs/{name}-more", "--generator": "runs/distill/generator-ema0.1.safetensors"}
    if name == "bench":
        arguments = [re.sub(r":\d\d+", ":2", argument) for argument in arguments]
        arguments = [re.sub(rf"\b({'|'.join(PEERS)})\b(?!:)", r"\1:2", argument) for argument in arguments]
        kept = [word for i, word in enumerate(arguments) if "--redo" not in arguments[max(i - 1, 0) : i + 1]]
        out = "results-" + hashlib.sha256(" ".join(kept).encode()).hexdigest()[:8]
        changes = {"--out": out, "--limit": "1", "--size": "64", "--prior": str(prior), "--pictures": "1"}
        changes["--denoiser"] = "denoiser.safetensors"
        changes["--samples"] = "2" if "--samples" in arguments else None
    if name == "run":
        changes = {"--prior": option(arguments, "--prior") or str(prior)}
        changes["--samples"] = "2" if "--samples" in arguments else None
    if name == "generate":
        changes = {"--count": "1", "--size": "32"}
    if name == "ema":
        arguments = [argument.replace("OUT", "runs/teacher") for argument in arguments]
    if name not in ("info", "ema", "report", "convert"):
        changes["--device"] = "cpu"
    for flag, value in changes.items():
        if flag in arguments and value is not None:
            arguments[arguments.index(flag) + 1] = value
        elif value is not None and flag != "--generator":
            arguments = [*arguments, flag, value]
    return arguments


def continued(arguments: list[str]) -> bool:
    return "--denoiser" in arguments or option(arguments, "--generator") == "default"


def option(arguments: list[str], flag: str) -> str | None:
    return arguments[arguments.index(flag) + 1] if flag in arguments else None


@pytest.mark.parametrize("document", [ROOT / "docs" / "quickstart.md"], ids=["quick start"])
def test_the_first_commands_run(document, place, tiny_prior):
    for command in commands(document):
        if command.words[0] == "invsolve":
            run(command, tiny_prior)
    assert read_image("small_restored.png").shape == (3, 256, 256)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_document_run(document, place, tiny_prior, one_thread):
    shown = [command for command in commands(document) if "invsolve" in command.words]
    for command in shown:
        if not any(re.search(pattern, command.text) for pattern in NOT_RUN):
            run(command, tiny_prior)
