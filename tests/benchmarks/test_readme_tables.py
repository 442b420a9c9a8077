"""``benchmarks/readme.py``: the README's figures are those of the results in the repository."""

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
    for name, table in script.tables().items():
        path = script.ROOT / ("checkpoints" if name == "card" else "") / "README.md"
        assert f"<!-- table {name} -->\n{table}\n" in path.read_text(encoding="utf-8")


def test_a_figure_typed_by_hand_is_found(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "README.md").write_text("no table\n")
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
