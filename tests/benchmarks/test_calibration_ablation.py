"""The trainings that ``benchmarks/calibration_ablation.py`` compares, on tiny networks: all run, from one start."""

from __future__ import annotations

import json
import math

import pytest
from benchmark_scripts import load_script
from training_cases import weights


@pytest.mark.slow
def test_every_training_is_measured_once(generator, teacher, pictures, tmp_path, monkeypatch):
    script = load_script("calibration_ablation")
    monkeypatch.setattr(script, "load_lpips", lambda: lambda a, b: (a - b).abs().mean((1, 2, 3)).tolist())
    for _, _, settings in script.TRAININGS.values():  # so that the generator moves within few steps
        for name in settings.keys() & {"fake_first", "discriminator_first"}:
            monkeypatch.setitem(settings, name, 1)
    words = ["--data", pictures, "--skip", 2, "--out", tmp_path, "--prior", generator, "--teacher", teacher]
    words += ["--steps", 6, "--crop", 32, "--images", 2, "--size", 16]
    monkeypatch.setattr("sys.argv", ["script", *map(str, words)])
    for _ in range(2):  # the second time nothing is left to do
        script.main()
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    names = ["before", *script.TRAININGS]
    assert [row["training"] for row in rows] == [name for name in names for _ in script.LEVELS]
    assert len({row["lpips_sample"] for row in rows if row["sigma"] == 1.0}) == len(names)
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    recipes = {path.parent.name: path.read_text() for path in tmp_path.glob("*/recipe.yaml")}
    assert len(recipes) == len(weights(tmp_path)) == len(script.TRAININGS)
    falling = next(text for name, text in recipes.items() if "falls" in name)
    assert "exchange_steps: 6" in falling
    assert (tmp_path / "summary.md").read_text().count("\n") == 4 + len(names)
