"""The extensions of ``docs/_ext``: what they make of docstrings, dataclasses and links."""

from __future__ import annotations

import sys

import pytest
from document_cases import ROOT

pytest.importorskip("sphinx", reason="the extra [docs] is not installed")
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

from docstrings import prepared
from fields_table import field_rows
from mathml import tex2mathml
from repository_pages import page_text, relinked

from invsolve import FewStep, Posterior, Settings


def test_equations_become_literal_and_bars_are_escaped():
    lines = [
        "The minimum of |A u - y|, by `|v|`.",
        "",
        "    p(x | u) = 1",
        "    p(u)     = 2",
        "",
        "It is |u|.",
        "",
        "Args:",
        "    y: a | b.",
    ]
    assert prepared(lines) == [
        r"The minimum of \|A u - y\|, by `|v|`.",
        "",
        "::",
        "",
        "    p(x | u) = 1",
        "    p(u)     = 2",
        "",
        r"It is \|u\|.",
        "",
        "Args:",
        r"    y: a \| b.",
    ]
    assert prepared(["As in::", "", "    x | y"]) == ["As in::", "", "    x | y"]


def test_fields_have_their_bounds_defaults_and_comments():
    rows = {row[0]: row[1:] for row in field_rows(Settings)}
    assert rows["``sigma_max``"] == ("a number, above 0", "``2.0``", "first noise level of the annealing")
    assert rows["``gamma``"][0] == "a number, at least 0 or None"
    assert rows["``few_step``"][:2] == ("``FewStep``", "``FewStep()``")
    assert r"x\_i + a (x\_i - x\_{i-1})" in {row[0]: row[3] for row in field_rows(FewStep)}["``momentum``"]
    assert field_rows(Posterior)[0] == ("``samples``", "``Tensor``", "", "[K, B, C, H, W]")


def test_links_to_files_of_the_repository_lead_to_their_pages():
    text = "[a](../CONTRIBUTING.md#tests) [b](results.md) [c](../benchmarks/results/auxt/summary.md) [d](https://x.org)"
    assert relinked(text, ROOT / "docs") == (
        "[a](/repository/contributing.md#tests) [b](results.md) [c](/repository/auxt.md) [d](https://x.org)"
    )


def test_a_page_made_of_a_file_has_a_heading_and_links_from_where_it_lies():
    assert page_text("checkpoints/README.md", "model-card").startswith("# Model card")
    assert "](../../benchmarks/results/faces-100/summary.md)" in page_text("checkpoints/README.md", "model-card")
    assert page_text("benchmarks/results/faces-100/summary.md", "faces-100").startswith(
        "---\norphan: true\n---\n\n# faces 100\n\n"
    )


def test_equations_are_mathml():
    assert tex2mathml(r"\frac{a}{b}", as_block=True).startswith("<math")
