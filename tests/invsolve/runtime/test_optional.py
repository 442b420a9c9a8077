"""Optional libraries: what is said when one is missing, and a torchvision whose compiled half does not load."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from invsolve.runtime.optional import import_optional

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["deepinv", "diffusers"])
def test_without_the_library_the_message_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"invsolve.adapters.{name}", raising=False)
    with pytest.raises(ImportError) as caught:
        importlib.import_module(f"invsolve.adapters.{name}")
    assert str(caught.value) == f'{name} is not installed: pip install "invsolve[{name}]"'


def test_what_a_library_misses_itself_is_named(monkeypatch, tmp_path):
    (tmp_path / "half_a_library.py").write_text("import the_other_half\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="the_other_half"):
        import_optional("half_a_library")


def test_a_torchvision_without_its_compiled_half_is_worked_around(tmp_path):
    """A stand-in that registers a Python half for an absent operator, as torchvision does when it is imported."""
    (tmp_path / "torchvision").mkdir()
    stand_in = "import torch\ntorch.library.register_fake('torchvision::nms')(lambda *boxes: None)\n"
    (tmp_path / "torchvision" / "__init__.py").write_text(stand_in)
    (tmp_path / "library.py").write_text("import torchvision\nanswer = 42\n")
    code = """
try:
    import library
except RuntimeError as error:
    print(error)
from invsolve.runtime.optional import import_with_torchvision
print(import_with_torchvision("library").answer)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.stdout == "operator torchvision::nms does not exist\n42\n", found.stderr
