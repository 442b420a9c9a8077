"""The order of the packages: an import, lazy or not, points down the list, and files do not go in circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the doors down to what everything may use; a file belongs to the longest name that it starts with. Packages of
# one line do not use each other.
ORDER = (
    ("invsolve.__main__",),
    ("invsolve.cli",),
    ("invsolve.commands",),
    ("invsolve.apps",),
    ("invsolve.bench", "invsolve.training"),
    ("invsolve.peers",),
    ("invsolve.adapters",),
    ("invsolve.solver",),
    ("invsolve.priors.registry",),
    ("invsolve.foreign",),
    ("invsolve.priors",),
    ("invsolve.networks",),
    ("invsolve.data",),
    ("invsolve.specs",),
    ("invsolve.images",),
    ("invsolve.runtime",),
    ("operators",),
)
HOME = "invsolve"  # its __init__ gives the public names of all packages, on demand
HEAVY = ("torch", "numpy", "scipy", "skimage", "torchvision", "matplotlib", "jinja2", "PIL", "huggingface_hub")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for top in ("invsolve", "operators") for path in sorted((ROOT / top).rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """Modules of this repository that a file imports anywhere in it."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {name if (name := f"{base}.{alias.name}") in FILES else base for alias in node.names}
    return (found & FILES.keys()) - {module}


GRAPH = {module: imports_of(module) for module in FILES if module != HOME}


def rank(module: str) -> tuple[int, str]:
    """Its line in ``ORDER``, and the name that puts it there."""
    fits = [
        (len(name), i, name) for i, line in enumerate(ORDER) for name in line if f"{module}.".startswith(f"{name}.")
    ]
    assert fits, f"{module} has no place in the order"
    return max(fits)[1:]


@pytest.mark.parametrize("module", GRAPH)
def test_imports_point_down(module):
    for target in GRAPH[module] - {HOME}:
        (line, name), (target_line, target_name) = rank(module), rank(target)
        assert line < target_line or name == target_name, f"{module} imports {target}"


def test_there_are_no_circles():
    """Lazy ones included; a package's __init__ is part of the package."""
    tuple(TopologicalSorter(GRAPH).static_order())


def test_few_files_lie_beside_the_packages():
    assert {path.name for path in (ROOT / "invsolve").glob("*.py")} <= {"__init__.py", "__main__.py", "cli.py"}


@pytest.mark.parametrize("code", ["import invsolve", "import invsolve.cli", "invsolve.load_task('sr4x').settings(4)"])
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    code = f"import invsolve, sys; {code}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not set(HEAVY) & set(loaded.split())


def test_the_operators_know_nothing_of_the_solver():
    for module in (module for module in FILES if module.startswith("operators")):
        assert not {target for target in GRAPH[module] if target.startswith("invsolve")}
