"""``benchmarks/gpu.py``: its small version on a CPU, what it does when time is short, and the tests that it runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from benchmark_scripts import FOLDER, load_script

from invsolve.specs.task import list_linear_tasks, load_task

pytestmark = pytest.mark.usefixtures("one_thread")
TIMINGS = ("solve", "parts", "noise", "network", "operators", "published")


@pytest.fixture(scope="module")
def script():
    return load_script("gpu")


@pytest.fixture
def call(script, tmp_path, monkeypatch):
    """The exit code of the script, and what it wrote."""

    def call(*arguments: str) -> tuple[int, dict]:
        monkeypatch.setattr("sys.argv", ["gpu.py", "--out", str(tmp_path), *arguments])
        code = script.main()
        return code, json.loads((tmp_path / "summary.json").read_text())

    return call


def check(found: dict, tasks: list[str], batches: tuple[int, ...]) -> None:
    """Figures that hold together, in rows for all that was asked for."""
    middle, largest = batches[-2:]
    tables = found["tables"]
    assert [(row["task"], row["batch"]) for row in tables["solve"]] == [
        (t, b) for b in (largest, middle) for t in tasks
    ]
    for row in tables["solve"]:
        assert row["ratio"] == pytest.approx(row["solve, ms"] / row["4 evaluations, ms"], rel=0.5)
    assert [row["task"] for row in tables["parts"]] == tasks
    for row in tables["parts"]:
        parts = {name.removesuffix(", %") for name in row if name.endswith("%")}
        warm = {"Wiener start"} if load_task(row["task"]).settings(4).warm_start else set()
        assert parts == {"network", "noise", "likelihood"} | warm
        assert all(row[f"{part}, %"] > 0 for part in parts)
    for name in ("network", "published"):
        assert [row["batch"] for row in tables[name]] == list(batches)
        assert all(row[precision] > 0 for row in tables[name] for precision in ("fp32", "bf16"))
    assert tables["noise"][0]["ours, ms"] > 0
    for row in tables["operators"]:
        for what in ("forward", "adjoint", "prox"):
            assert row[f"{what}: ours, ms"] > 0
            if find_spec("deepinv") and (row["operator"], what) != ("grayscale", "prox"):
                assert row[f"{what}: difference"] < 1e-5


def test_the_timings_on_a_cpu(script, call, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "list_linear_tasks", lambda: ["denoise", "sr4x"])
    monkeypatch.setattr(script, "CPU", replace(script.CPU, size=32, batches=(1, 2)))
    code, found = call("--cpu", "--only", *TIMINGS)
    assert (code, found["left out"], found["failed"]) == (0, {}, {})
    assert list(found["tables"]) == list(TIMINGS)
    check(found, ["denoise", "sr4x"], (1, 2))
    written, printed = (tmp_path / "summary.md").read_text(), capsys.readouterr().out
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert set(rows) == {line for line in printed.splitlines() if line.startswith("|")}
    for row, line in zip(found["tables"]["solve"], rows[2:], strict=False):
        assert line.startswith(f"| {row['task']} | {row['batch']} | ")
        assert line.endswith(f" | {row['ratio']:.3g} | - | - |")


@pytest.mark.cuda
def test_the_timings_on_a_gpu(script, call, monkeypatch):
    small = replace(script.CPU, device=torch.device("cuda"), size=64)
    monkeypatch.setattr(script, "GPU", small)
    code, found = call("--only", *TIMINGS)
    assert (code, found["left out"], found["failed"]) == (0, {}, {})
    check(found, list_linear_tasks(), small.batches)
    for row in found["tables"]["solve"]:
        assert row["graphs: ratio"] > 0
        assert row["solve, MiB"] > 0


@pytest.mark.slow
def test_all_of_it_from_the_repository_alone(tmp_path):
    """By its own command, in another folder and without an installation: the tests and torch.compile included."""
    command = [sys.executable, FOLDER / "gpu.py", "--cpu", "--minutes", "60", "--out", tmp_path]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert (result.returncode, found["left out"], found["failed"]) == (0, {}, {}), result.stdout + result.stderr
    check(found, list_linear_tasks(), (1, 2, 3))
    fast, slow = (found["tables"][name][0] for name in ("tests", "slow_tests"))
    assert min(fast["passed"] + fast["skipped"], slow["passed"] + slow["skipped"]) > 0
    assert [fast["not loaded"], slow["not loaded"]] == [None, None]
    compiled = {(row["network"], row["batch"]): row["fp32, compiled"] for row in found["tables"]["compiled"]}
    assert list(compiled) == [("network", 3), ("published", 3), ("network", 2), ("network", 1)]
    assert all(rate > 0 for rate in compiled.values())


def test_without_a_gpu(script, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert caught.value.code == 2
    assert "error: there is no CUDA device here; --cpu runs a small version of every line\n" in capsys.readouterr().err


def fails():
    raise RuntimeError("CUDA error: out of luck\nCompile with ...")


def warns():
    for _ in range(2):
        warnings.warn("a call is not recorded as a CUDA graph", RuntimeWarning, stacklevel=2)
    warnings.warn("old", DeprecationWarning, stacklevel=2)
    return {"ms": None, "kind": "x"}


def stops():
    raise KeyboardInterrupt


def missing():
    raise ImportError("pytest is not installed")


def test_lines_that_do_not_fit_or_fail_hide_no_others(script, tmp_path):
    lines = [
        script.Line("a", "short", 1, lambda: {"ms": 123.4, "ratio": 1.0512}),
        script.Line("a", "long", 1e4, lambda: {"ms": 0.0}),
        script.Line("b", "bad", 1, fails),
        script.Line("b", "absent", 1, missing),
        script.Line("b", "good", 1, warns),
        script.Line("b", "killed", 1, stops),
        script.Line("b", "never", 1, fails),
    ]
    report = script.Report(tmp_path, "Title", {"device": "d"})
    with pytest.raises(KeyboardInterrupt):
        script.run(lines, report, script.Clock(60))
    assert not report.good
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found == {
        "about": {"device": "d"},
        "tables": {"a": [{"ms": 123.4, "ratio": 1.0512}], "b": [{"ms": None, "kind": "x"}]},
        "left out": {"a: long": "takes about 10000 s, 60 s were left", "b: absent": "pytest is not installed"},
        "failed": {"b: bad": "RuntimeError: CUDA error: out of luck"},
        "warnings": {"b: good": "a call is not recorded as a CUDA graph"},
    }
    text = (tmp_path / "summary.md").read_text()
    assert "# Title\n\n- device: d\n\n## a\n\n| ms | ratio |\n| --- | --- |\n| 123 | 1.05 |\n\n## b\n" in text
    assert "| - | x |\n" in text
    assert "## failed\n\n- b: bad: RuntimeError: CUDA error: out of luck\n" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["summary.json", "summary.md"]


@pytest.mark.parametrize(("ended", "good"), [("passed", True), ("failed", False), ("stopped after 3 s", False)])
def test_tests_that_did_not_pass_are_a_failure(ended, good, script, tmp_path):
    report = script.Report(tmp_path, "Title", {})
    script.run([script.Line("tests", "cuda", 1, lambda: {"ended": ended})], report, script.Clock(60))
    assert report.good is good


@pytest.fixture
def some_tests(tmp_path) -> Path:
    """Marked ones that pass, fail, skip and break, one without the mark, and a file that needs what is not there."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_a.py").write_text("import not_installed_anywhere\n")
    marks = "import pytest, time\npytestmark = pytest.mark.filterwarnings('ignore')\n"
    (folder / "test_b.py").write_text(
        f"{marks}\n"
        "@pytest.fixture\ndef broken(): 1 / 0\n"
        "@pytest.mark.cuda\n@pytest.mark.parametrize('x', ['a b', 'c'])\ndef test_passes(x): pass\n"
        "@pytest.mark.cuda\ndef test_fails(): assert 'this PASSED' == ''\n"
        "@pytest.mark.cuda\ndef test_breaks(broken): pass\n"
        "@pytest.mark.cuda\ndef test_skips(): pytest.skip('not here')\n"
        "def test_unmarked(): pass\n"
    )
    (folder / "test_c.py").write_text(f"{marks}@pytest.mark.sleepy\ndef test_sleeps(): time.sleep(300)\n")
    return folder


def test_the_tests_of_a_marker_are_counted(some_tests, script, tmp_path):
    row = script.run_tests(some_tests, "cuda", 60, tmp_path / "log.txt")
    counts = {name: row[name] for name in ("passed", "failed", "error", "skipped")}
    assert counts == {"passed": 2, "failed": 1, "error": 1, "skipped": 1}
    assert Path(row["not loaded"]).name == "test_a.py"
    assert row["ended"] == "failed"
    assert "No module named 'not_installed_anywhere'" in (tmp_path / "log.txt").read_text()


def test_tests_that_take_too_long_are_stopped(some_tests, script, tmp_path):
    start = time.monotonic()
    row = script.run_tests(some_tests, "sleepy", 1, tmp_path / "log.txt")
    assert row["ended"] == "stopped after 1 s"
    assert time.monotonic() - start < 60
