"""``benchmarks/tune_baselines.py`` finds better numbers of the classical baselines, and measures nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from bench_cases import photograph
from benchmark_scripts import load_script

from invsolve.bench.baselines import TUNED, tuned_values
from invsolve.images.files import write_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def tune(tmp_path, monkeypatch):
    """Runs the script on the last two of three pictures in each of two folders, with squared error for LPIPS."""
    script = load_script("tune_baselines")
    monkeypatch.setattr(script, "load_lpips", lambda *_: lambda a, b: (a - b).square().mean((1, 2, 3)).tolist())
    folders = [tmp_path / "photos", tmp_path / "faces"]
    for f, folder in enumerate(folders):
        folder.mkdir()
        for i in range(3):
            write_image(photograph(3 * f + i, 80), folder / f"{i}.png")

    def run(*more: object, crop: int = 64) -> list[dict]:
        arguments = ["--data", *folders, "--images", 2, "--crop", crop, "--out", tmp_path / "out.jsonl", *more]
        monkeypatch.setattr("sys.argv", ["script", *map(str, arguments)])
        script.main()
        return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    return run


def test_the_search_ends_below_its_start_and_goes_on_where_it_was(tune, tmp_path, capsys):
    arguments = ("--baselines", "wiener", "richardson_lucy", "--tasks", "deblur_motion", "sr4x")
    lines = tune(*arguments)
    assert {(line["baseline"], line["task"]) for line in lines} == {
        ("wiener", "deblur_motion"),  # not made for sr4x
        ("richardson_lucy", "deblur_motion"),
    }
    assert all(line["images"] == 4 and line["size"] == [64, 64] for line in lines)
    shown = capsys.readouterr().out
    values = yaml.safe_load(shown)
    for name, parameter in {"wiener": "balance", "richardson_lucy": "iterations"}.items():
        own = [line for line in lines if line["baseline"] == name]
        assert own[0]["value"] == tuned_values()[name]["deblur_motion"][parameter]
        best = min(own, key=lambda line: line["lpips"])
        assert best["lpips"] <= own[0]["lpips"]
        assert values[name]["deblur_motion"] == {parameter: best["value"]}
        tried = [line["value"] for line in own]
        assert len(set(tried)) == len(tried) >= 5
    assert {**values, "wiener": 0, "richardson_lucy": 0} == {**tuned_values(), "wiener": 0, "richardson_lucy": 0}
    assert shown.partition("\n\n")[0] == TUNED.read_text().partition("\n\n")[0]  # how the values were found

    out = Path(tmp_path / "out.jsonl")  # stopped while it wrote the third line
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]) + json.dumps(lines[2])[:-9])
    assert tune(*arguments) == lines
    assert tune(*arguments) == lines


def test_a_crop_that_does_not_fit_is_refused(tune, capsys):
    with pytest.raises(SystemExit):
        tune(crop=81)
    assert "error: a crop of 81 pixels does not fit into pictures of 80x80 pixels" in capsys.readouterr().err
