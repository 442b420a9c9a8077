"""What is imported when: no torch before it is needed, and the public names in spite of it."""

from __future__ import annotations

import ast
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cli_pictures import environment

import invsolve
import invsolve.cli

COMMAND = """
import sys
from invsolve.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
assert "torch" not in sys.modules
"""


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in environment().items() if name != "OMP_WAIT_POLICY"}
    how = {"env": kept | variables, "capture_output": True, "text": True, "timeout": 60}
    return subprocess.run([sys.executable, *arguments], **how)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"], ["train"], ["nonsense"]], ids=str)
def test_what_the_parser_answers_loads_no_torch(arguments):
    done = python("-c", COMMAND, *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_the_module_answers_without_torch():
    done = python("-X", "importtime", "-m", "invsolve", "--version")
    assert done.stdout == f"invsolve {invsolve.__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "invsolve.cli" in imported
    assert "torch" not in imported


def test_a_task_is_read_without_torch():
    code = "import sys, invsolve; invsolve.load_task('sr4x').settings(4); assert 'torch' not in sys.modules"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_solve_is_the_function_though_its_module_was_imported_first():
    code = """
import invsolve.solver.solve, sys
assert invsolve.solve is sys.modules["invsolve.solver.solve"].solve
from invsolve import *
assert solve is invsolve.solve
assert invsolve.priors.schedule is sys.modules["invsolve.priors.schedule"]
"""
    done = python("-W", "error::ImportWarning", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_public_names_are_those_of_their_modules():
    assert set(invsolve.__all__) == set(invsolve._HOMES)
    assert {*invsolve.__all__, "__version__"} <= set(dir(invsolve))
    for name, home in invsolve._HOMES.items():
        assert getattr(invsolve, name) is getattr(importlib.import_module(f"invsolve.{home}"), name)
        assert pickle.loads(pickle.dumps(getattr(invsolve, name))) is getattr(invsolve, name)
    with pytest.raises(AttributeError, match="module 'invsolve' has no attribute 'nonsense'"):
        _ = invsolve.nonsense
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        from invsolve import nonsense  # noqa: F401


def test_type_checkers_see_the_names_where_they_are():
    tree = ast.parse(Path(invsolve.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    assert {alias.name: node.module for node in imports for alias in node.names} == invsolve._HOMES


def test_replacing_a_public_name_works(monkeypatch):
    monkeypatch.setattr(invsolve, "solve", "another")
    assert invsolve.solve == "another"


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
@pytest.mark.parametrize(
    "start",
    [["-m", "invsolve", "info"], ["-m", "invsolve.cli", "info"], ["-c", "import invsolve, torch"]],
    ids=" ".join,
)
def test_threads_sleep_where_torch_is_loaded_after_invsolve(tmp_path, start, given, policy):
    """Unless the user says otherwise. A stand-in for torch tells what it finds when it is loaded."""
    (tmp_path / "torch.py").write_text("import os\nraise OSError(f\"policy {os.environ.get('OMP_WAIT_POLICY')}\")\n")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    assert f"policy {policy}\n" in python(*start, PYTHONPATH=path, **given).stderr


def test_a_torch_that_was_loaded_first_keeps_its_environment():
    done = python(
        "-c", "import sys; sys.modules['torch'] = None; import invsolve, os; print(os.environ.get('OMP_WAIT_POLICY'))"
    )
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
