"""``benchmarks/readme.py``: the figures of README and pages are those of the results in the repository."""

from __future__ import annotations

import json
import sys

import pytest
from benchmark_scripts import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("readme")


def test_the_tables_are_those_of_the_results(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["readme.py", "--check"])
    script.main()
    text = "".join((script.ROOT / page).read_text(encoding="utf-8") for page in script.PAGES)
    for name, table in script.tables().items():
        assert f"<!-- table {name} -->\n{table}\n" in text


def test_a_figure_typed_by_hand_is_found(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    for page in script.PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text("no table\n")
    readme = tmp_path / "README.md"
    readme.write_text("Before.\n<!-- table quality -->\n| sr4x | 99.99 |\n<!-- end -->\nAfter.\n")
    monkeypatch.setattr(sys, "argv", ["readme.py", "--check"])
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert caught.value.code == 1
    monkeypatch.setattr(sys, "argv", ["readme.py"])
    script.main()
    text = readme.read_text(encoding="utf-8")
    entries = json.loads((script.RESULTS / "faces-100" / "summary.json").read_text())["entries"]
    (ours,) = [e for e in entries if (e["task"], e["method"]) == ("sr4x", "ncvsd")]
    assert f"**{ours['psnr']['mean']:.2f} / {ours['lpips']['mean']:.3f}**" in text
    assert text.startswith("Before.\n<!-- table quality -->\n")
    assert text.endswith("<!-- end -->\nAfter.\n")


def test_the_ablation_in_short_names_the_task_where_a_setting_buys_most(script):
    rows = [
        ("a", "sr4x", "4", "+2.0%", "-0.10 dB"),
        ("a", "denoise", "4", "+7.4%", "+0.20 dB"),
        ("a", "denoise", "16", "+90.0%", "-3.00 dB"),
        ("b", "sr4x", "4", "+10.0%", "-0.50 dB"),
        ("b at all levels", "sr4x", "4", "+50.0%", "-0.50 dB"),
    ]
    head = "| Without | Task | Evaluations | LPIPS | PSNR | Pictures |\n| --- | --- | --- | --- | --- | --- |\n"
    table = head + "\n".join("| " + " | ".join((*row, "24")) + " |" for row in rows)
    assert script.ablation(table).splitlines()[2:] == [
        "| `b` | sr4x | +10 % | −0.50 dB |",
        "| `a` | denoise | +7 % | +0.20 dB |",
    ]


def test_photographs_are_compared_with_the_best_classical_method(script, monkeypatch):
    monkeypatch.setattr(script, "WITHOUT", {"sr4x": "", "denoise": ""})
    found = {
        ("sr4x", "baseline:bicubic"): (24.0, 0.6),
        ("sr4x", "baseline:tv"): (25.0, 0.4),
        ("sr4x", "baseline:lanczos"): (24.1, 0.5),
        ("sr4x", "ncvsd"): (24.5, 0.3),
        ("denoise", "baseline:measurement"): (32.0, 0.05),
        ("denoise", "baseline:bm3d"): (38.0, 0.015),
        ("denoise", "ncvsd"): (37.0, 0.016),
    }
    assert script.kodak(found).splitlines()[2:] == [
        "| sr4x | bicubic: 24.00 / 0.600 | tv: 25.00 / 0.400 | **24.50 / 0.300** |",
        "| denoise | measurement: 32.00 / 0.050 | bm3d: **38.00 / 0.015** | 37.00 / 0.016 |",
    ]
