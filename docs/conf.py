"""How Sphinx builds these pages: `make docs`. Nothing is downloaded, neither here nor by a reader's browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # of sub-processes
os.environ.setdefault("INVSOLVE_PRECISION", "fp32")  # the same pictures on every processor

import invsolve  # noqa: E402  (before torch)

import torch  # noqa: E402  # isort: skip
from sphinx_gallery.sorting import FileNameSortKey  # noqa: E402  # isort: skip


def seed(gallery_conf: dict, script: str) -> None:
    """Every example has the same noise whenever it runs."""
    torch.manual_seed(0)


project = "invsolve"
author = "the authors of invsolve"
copyright = author
release = invsolve.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "sphinxarg.ext",
    "docstrings",  # of _ext, as the next three
    "fields_table",
    "repository_pages",
    "mathml",
]
exclude_patterns = ["_build", "api/examples"]
default_role = "code"
smartquotes = False  # which would make one dash of the two of an option
suppress_warnings = ["config.cache"]  # the gallery's sort key is a class

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": FileNameSortKey,
    "backreferences_dir": "api/examples",
    "doc_module": ("invsolve", "operators"),
    "reference_url": {"invsolve": None, "operators": None},
    "reset_modules": ("matplotlib", seed),
    "write_computation_times": False,  # that page would load scripts from elsewhere
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "image_scrapers": ("matplotlib",),
}

html_theme = "furo"
html_title = "invsolve"
html_static_path = ["_static"]
html_css_files = ["invsolve.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": False}
