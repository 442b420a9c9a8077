"""What the machine lacks gets one line and exit code 2, what is a fault of the program its traceback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import torch
from cli_pictures import COMMAND, environment, picture

from invsolve.cli import main

TOO_MUCH = 2**50  # bytes, more than a process can address
NO_COMPILER = (
    "invsolve: error: --compile needs a C++ compiler, and none was found: install one, name it in CXX, "
    "or leave --compile out\n"
)


def restore_by(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command that does ``work``."""
    monkeypatch.setattr("invsolve.apps.run.run", lambda options: work())
    return main(["run", "sr4x", "--input", "a.png"])


@pytest.mark.parametrize(
    "work",
    [
        lambda: bytearray(TOO_MUCH),
        lambda: np.empty(TOO_MUCH, np.uint8),
        lambda: torch.empty(TOO_MUCH, dtype=torch.uint8),
    ],
    ids=["python", "numpy", "torch"],
)
def test_too_little_memory_is_one_line(work, monkeypatch, capsys):
    assert restore_by(work, monkeypatch) == 2
    assert capsys.readouterr().err == "invsolve: error: out of memory: try a smaller --batch, or --tile 256\n"


def test_too_little_gpu_memory_is_one_line(monkeypatch, capsys):
    def work():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert restore_by(work, monkeypatch) == 2
    expected = "invsolve: error: out of GPU memory: try a smaller --batch, or --tile 256, or --device cpu\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("command", "work", "advice"),
    [
        (["generate"], "invsolve.apps.generate.generate", "a smaller --batch"),
        (["bench", "--data", "d", "--out", "o"], "invsolve.bench.runner.bench", "a smaller --batch"),
        (
            ["train", "default-teacher", "--data", "d", "--out", "o"],
            "invsolve.training.teacher.train",
            "a smaller batch in the recipe",
        ),
    ],
    ids=["generate", "bench", "train"],
)
def test_too_little_memory_names_options_of_the_command(command, work, advice, monkeypatch, capsys):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(work, fail)
    assert main(command) == 2
    assert capsys.readouterr().err == f"invsolve: error: out of memory: try {advice}\n"


class InvalidCxxCompiler(RuntimeError):
    """As torch._inductor's, whose import takes seconds."""


class Wrapped(RuntimeError):
    """As torch._dynamo's BackendCompilerFailed."""

    def __init__(self, inner_exception: Exception):
        super().__init__(f"{type(inner_exception).__name__}: {inner_exception}")
        self.inner_exception = inner_exception


@pytest.mark.parametrize("wrap", [lambda error: error, Wrapped], ids=["bare", "wrapped"])
def test_the_lack_of_a_compiler_is_told_from_other_failures_to_compile(wrap, monkeypatch, capsys):
    def fails(error):
        raise wrap(error)

    assert restore_by(lambda: fails(InvalidCxxCompiler("No working C++ compiler found")), monkeypatch) == 2
    assert capsys.readouterr().err == NO_COMPILER
    with pytest.raises(RuntimeError, match="no such instruction"):
        restore_by(lambda: fails(RuntimeError("C++ compile error: no such instruction")), monkeypatch)


@pytest.mark.slow
def test_compiling_without_a_compiler_is_one_line(tiny_prior, tmp_path):
    picture(tmp_path / "a.png", 16, 16)
    command = [*COMMAND, "run", "denoise", "--input", "a.png", "--prior", str(tiny_prior), "--steps", "1"]
    compiler = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--compile", "--device", "cpu", "--output", "out"],
        cwd=tmp_path,
        env=environment() | compiler,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (2, NO_COMPILER)
    assert not (tmp_path / "out").exists()


def test_any_other_error_of_torch_keeps_its_traceback(monkeypatch):
    with pytest.raises(RuntimeError, match="must match the size"):
        restore_by(lambda: torch.zeros(2) + torch.zeros(3), monkeypatch)
