"""`python -m build`: wheel and sdist install into an environment without invsolve, and restore a picture there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 70e6  # bytes
CODE = "import invsolve, operators; print(invsolve.__file__, operators.__file__, sep='\\n')"

pytestmark = pytest.mark.slow


def run(*command: object, folder: Path) -> str:
    """Run a command that must succeed, without this process's search path."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> dict[str, Path]:
    """Built from a copy of the checkout, the wheel from the sdist; without a network: setuptools is the one at hand."""
    pytest.importorskip("build", reason="build is not installed")
    copy = tmp_path_factory.mktemp("copy") / "invsolve"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "dist", "runs", "*.egg-info", "__pycache__")
    )
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist", folder=copy)
    (wheel,) = (copy / "dist").glob("*.whl")
    (sdist,) = (copy / "dist").glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def test_what_is_in_them(distributions):
    assert distributions["wheel"].stat().st_size < LARGEST
    with zipfile.ZipFile(distributions["wheel"]) as wheel, tarfile.open(distributions["sdist"]) as sdist:
        installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    for top, at in {"invsolve": "invsolve", "operators": "operators", "tasks": "invsolve/tasks"}.items():
        for file in (ROOT / top).rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                name = file.relative_to(ROOT / top).as_posix()
                assert f"{at}/{name}" in installed
                assert f"{top}/{name}" in packed
    assert {f"invsolve/checkpoints/{name}.safetensors" for name in ("default", "sampler", "teacher")} < installed


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_installs_and_restores_a_picture_without_the_checkout(kind, distributions, tmp_path):
    """The dependencies, gigabytes of them, are those of this environment, lent to the new one; invsolve is not."""
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / "bin"
    python = binaries / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path).strip()
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", folder=tmp_path)  # too old in Python 3.11
    lent = sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")})
    (Path(site) / "lent.pth").write_text("\n".join(lent) + "\n")  # .pth files there, of editables, are not read
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(python, *install, "--ignore-installed", distributions[kind], folder=tmp_path)
    for file in run(python, "-c", CODE, folder=tmp_path).splitlines():
        assert Path(file).is_relative_to(site)
    picture = tmp_path / "small.png"
    Image.effect_noise((24, 20), 40).convert("RGB").save(picture)
    run(binaries / "invsolve", "run", "sr4x", "--input", picture, "--device", "cpu", folder=tmp_path)
    with Image.open(tmp_path / "small_restored.png") as restored:
        assert restored.size == (96, 80)
    assert "deblur_motion" in run(binaries / "invsolve", "info", folder=tmp_path)
