"""What an installation holds, apart from the code that the tests run."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import invsolve

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pyproject() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def folders(pyproject) -> dict[str, Path]:
    """Where each of the packages lies."""
    built = pyproject["tool"]["setuptools"]
    return {name: ROOT / built["package-dir"].get(name, name.replace(".", "/")) for name in built["packages"]}


def test_every_package_is_installed(folders):
    found = {path.parent for top in ("invsolve", "operators") for path in (ROOT / top).rglob("__init__.py")}
    assert found | {ROOT / "tasks", ROOT / "checkpoints"} == set(folders.values())


def test_every_file_beside_the_code_is_installed(pyproject, folders):
    data = pyproject["tool"]["setuptools"]["package-data"]
    for name, folder in folders.items():
        beside = [path.name for path in folder.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc")]
        assert [file for file in beside if not any(fnmatch(file, pattern) for pattern in data.get(name, []))] == []
    assert all((folders[name] / "py.typed").is_file() for name in ("invsolve", "operators"))


def test_the_licence_names_that_of_the_weights(pyproject):
    project = pyproject["project"]
    assert project["license"] == "Apache-2.0 AND LicenseRef-weights-for-research-use-only"
    texts = [(ROOT / file).read_text() for file in project["license-files"]]
    assert "Apache License" in texts[0]
    assert "Licence: research use only" in texts[1]


def test_the_version_is_that_of_the_installation(pyproject):
    assert invsolve.__version__ in (pyproject["project"]["version"], "0+unknown")


def test_the_version_of_the_citation_is_that_of_the_package(pyproject):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["cff-version"]) == (pyproject["project"]["version"], "1.2.0")


def test_the_hooks_check_the_style_by_the_pinned_ruff():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format"}
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(package in pins for hook in hooks for package in hook["additional_dependencies"])


def test_the_workflows_test_every_python_that_is_supported(pyproject):
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    versions = jobs["test"]["strategy"]["matrix"]["python-version"]
    assert versions == ["3.10", "3.11", "3.12", "3.13"]
    assert pyproject["project"]["requires-python"] == f">={versions[0]}"
    assert {"lint", "test", "docs", "wheel"} == {*jobs}
