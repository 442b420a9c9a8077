"""The documentation as `make docs` builds it, read in a browser, and its notebooks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser_fixtures import resize
from cli_pictures import environment
from document_cases import ROOT

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
NOTEBOOKS = ("01_first_restoration", "02_upscale_a_photo", "03_scratches")


@pytest.fixture(scope="module")
def pages() -> Path:
    """The folder of the built pages; the gallery runs where its examples have changed."""
    pytest.importorskip("sphinx_gallery", reason="the extra [docs] is not installed")
    pytest.importorskip("invsolve.adapters.deepinv", reason="the gallery needs deepinv", exc_type=ImportError)
    built = DOCS / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(built)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return built


def test_pages_load_nothing_from_elsewhere(pages):
    for page in pages.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"((?:https?:)?//[^\"]+)", text)
        assert loaded == [], page
    for style in pages.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")) == [], style


def test_every_example_has_a_picture_in_the_gallery(pages):
    gallery = (pages / "auto_examples" / "index.html").read_text(encoding="utf-8")
    for example in (ROOT / "examples").glob("*.py"):
        assert f"sphx_glr_{example.stem}_thumb" in gallery
        page = (pages / "auto_examples" / f"{example.stem}.html").read_text(encoding="utf-8")
        assert f"sphx_glr_{example.stem}_001" in page
        assert f"{example.stem}.ipynb" in page


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen_and_have_no_errors(pages, browser, width):
    resize(browser, width)
    for page in sorted(pages.rglob("*.html")):
        browser.get(page.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, page
        assert [entry["message"] for entry in browser.get_log("browser")] == [], page


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(pages, name, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    for variable, value in environment().items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(DOCS / "auto_examples" / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert os.listdir(tmp_path) == []  # examples leave nothing beside the reader
