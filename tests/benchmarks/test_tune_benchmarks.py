"""The scripts that tune settings evaluate the network in the precision they say, on any device."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from bench_cases import photograph, write_pictures
from benchmark_scripts import load_script

from invsolve import Settings
from invsolve.images.files import write_image
from invsolve.peers import PEERS, TUNED, settings_for, tuned_settings
from invsolve.priors.registry import load_prior
from invsolve.specs.settings import FewStep
from invsolve.specs.task import list_tasks


def run(script, monkeypatch, *arguments: str | Path) -> list[str | None]:
    """The precisions in which the script asks for a prior; LPIPS is replaced by the mean absolute error."""
    asked = []

    def spy(name, device, inference=None):
        asked.append(inference and inference.precision)
        return load_prior(name, device, inference)

    monkeypatch.setattr(script, "load_prior", spy)
    monkeypatch.setattr(script, "load_lpips", lambda *_: lambda a, b: (a - b).abs().mean((1, 2, 3)).tolist())
    monkeypatch.setattr("sys.argv", ["script", "--device", "cpu", *map(str, arguments)])
    script.main()
    return asked


@pytest.fixture
def peers(teacher, pictures, tmp_path, monkeypatch):
    """Runs the script on two small pictures; returns the precisions asked for and the output's lines."""
    script = load_script("tune_peers")
    common = ("--data", pictures, "--prior", teacher, "--images", 2, "--peers", "ddrm", "--steps", 3, "--tasks", "sr4x")

    def tune(*more: str | Path, out: str = "out.jsonl", crop: int = 16) -> tuple[list, list[dict]]:
        asked = run(script, monkeypatch, *common, "--crop", crop, "--out", tmp_path / out, *more)
        return asked, [json.loads(line) for line in (tmp_path / out).read_text().splitlines()]

    return tune


def test_peers_are_tuned_in_the_precision_asked_for(peers):
    figures = {}
    for precision in ("fp32", "bf16"):
        asked, lines = peers("--precision", precision, "--minutes", 0, out=precision)
        assert asked == [precision]
        (line,) = lines
        figures[precision] = line.pop("psnr")
        assert all(line.pop(name) > 0 for name in ("lpips", "seconds"))
        assert Path(line.pop("prior")).is_file()
        values = {"eta": 1.0, "eta_b": 1.0, **tuned_settings()["ddrm"]["sr4x"][20]}
        known = math.exp(-0.9 + 2.5 * 1.5)  # the highest level, to a teacher of the default recipe
        assert line.pop("values") == {**values, "sigma_max": pytest.approx(min(values["sigma_max"], known))}
        expected = {"peer": "ddrm", "steps": 3, "task": "sr4x", "images": 2, "size": [16, 16], "device": "cpu"}
        assert line == {**expected, "precision": precision, "evaluations": 3}
    assert 0 < abs(figures["bf16"] - figures["fp32"]) < 0.1  # decibels


def test_a_search_over_a_peer_ends_below_its_start_and_measures_nothing_twice(peers, tmp_path, capsys):
    _, lines = peers()
    assert len(lines) > 6
    settings = [json.dumps(line["values"], sort_keys=True) for line in lines]
    assert len(set(settings)) == len(settings)
    best = min(lines, key=lambda line: line["lpips"])
    assert best["lpips"] < lines[0]["lpips"]
    text, before = capsys.readouterr().out, tuned_settings()
    assert text.partition("\n\n")[0] == TUNED.read_text().partition("\n\n")[0]  # how the values were found
    shown = yaml.safe_load(text)
    assert shown["ddrm"]["sr4x"] == {3: best["values"], **before["ddrm"]["sr4x"]}
    assert {**shown, "ddrm": {**shown["ddrm"], "sr4x": 0}} == {**before, "ddrm": {**before["ddrm"], "sr4x": 0}}

    out = tmp_path / "out.jsonl"  # stopped while it wrote the fifth line
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[:4]) + json.dumps(lines[4]))
    _, again = peers()
    assert again[:4] == lines[:4]
    assert [line["values"] for line in again] == [line["values"] for line in lines]
    assert peers()[1] == again


def test_measurements_under_other_conditions_are_not_mixed(peers, capsys):
    peers("--minutes", 0)
    with pytest.raises(SystemExit):
        peers("--minutes", 0, crop=18)
    assert "has measurements with size [16, 16] but this run has [18, 18]: choose another" in capsys.readouterr().err


def test_the_search_finds_the_minimum_within_the_limits_and_at_no_greater_cost():
    """Of a function with its minimum at a rho_min of 0.07, a decay of 1, which would take too long, and any rho."""
    script = load_script("tune_peers")
    seen = []

    def loss(settings) -> float:
        seen.append(settings)
        return math.log(settings.rho_min / 0.07) ** 2 + (settings.decay - 1) ** 2

    def descend(loss, start, names):
        return script.search(loss, start, names, partial(script.moves, start.evaluations, 22.2), math.inf)

    start = PEERS["pnpdm"].settings(steps=10, rho=2.0, decay=0.72, grid=20, sigma_max=20.0, sigma_min=0.01)
    found = descend(loss, start, script.TRIED["pnpdm"])
    assert abs(math.log(found.rho_min / 0.07)) < 0.25
    assert start.decay < found.decay < 1
    assert max(settings.evaluations for settings in seen) <= 1.1 * start.evaluations
    ddim = descend(lambda s: s.eta - s.sigma_max, settings_for("ddnm", "sr4x"), ("eta", "sigma_max"))
    assert (ddim.eta, ddim.sigma_max) == (0.0, 22.2)


def test_every_peer_has_settings_to_tune():
    script = load_script("tune_peers")
    assert set(script.STEPS) == set(script.TRIED) == set(PEERS)
    for name, tried in script.TRIED.items():
        for task in list_tasks():
            start = settings_for(name, task, script.STEPS[name][0])
            for setting in tried:
                assert [*script.moves(start.evaluations, 30.0, start, setting, 1.0)], (name, task, setting)


def test_tasks_are_tuned_in_float32_unless_asked_otherwise(tiny_prior, pictures, monkeypatch, capsys):
    script = load_script("tune_tasks")
    common = ("--data", pictures, "--prior", tiny_prior, "--images", 2, "--tasks", "denoise", "--minutes", 0)
    assert run(script, monkeypatch, *common) == ["fp32"]
    assert run(script, monkeypatch, *common, "--precision", "bf16") == ["bf16"]
    losses = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines() if " dB" in line]
    assert torch.tensor(losses).isfinite().all()
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_tasks_that_are_not_linear_are_tuned_on_pictures_of_any_sizes(tiny_prior, tmp_path, monkeypatch, capsys):
    """Cropped to one; settings for white noise alone are left as they are."""
    script, folder = load_script("tune_tasks"), write_pictures(tmp_path / "pictures", 1)
    write_image(photograph(3, 48), folder / "larger.png")
    options = ("--data", folder, "--prior", tiny_prior, "--images", 2, "--crop", 32, "--minutes", 0.05)
    tried = []
    monkeypatch.setattr(script, "search", lambda loss, start, names, *_: tried.append(names) or start)
    run(script, monkeypatch, *options, "--tasks", "declip", "sr4x")
    assert "output_ema" in tried[0]
    assert not {"renoise", "overrelaxation", "sigma_likelihood"} & {*tried[0]}
    assert {"renoise", "overrelaxation", "sigma_likelihood"} <= {*tried[1]}
    with pytest.raises(SystemExit):
        run(script, monkeypatch, *options, "--tasks", "jpeg")
    assert "the task jpeg has no settings to start from" in capsys.readouterr().err


def test_a_search_over_a_tasks_settings_goes_downhill_only_by_more_than_chance():
    """The minimum is at no overrelaxation and a sigma_min of 0.05; renoise changes next to nothing."""
    script = load_script("tune_tasks")

    def loss(settings: Settings) -> float:
        few_step = settings.few_step
        return math.log(settings.sigma_min / 0.05) ** 2 + few_step.overrelaxation - 1e-4 * few_step.renoise

    start = Settings(sigma_min=0.2, few_step=FewStep(overrelaxation=0.6))
    found = script.search(loss, start, script.TRIED, script.moves, math.inf, script.LEAST_GAIN)
    assert abs(math.log(found.sigma_min / 0.05)) < 0.1
    assert found == Settings(sigma_min=found.sigma_min)
    text = script.as_yaml(dataclasses.replace(start, gamma=0.0, warm_start=True))
    expected = {"sigma_min": 0.2, "warm_start": True, "gamma": 0.0, "few_step": {"overrelaxation": 0.6}}
    assert yaml.safe_load(text) == expected


@pytest.mark.parametrize("crop", [22, -8])
def test_a_crop_that_does_not_fit_is_refused(crop, pictures, tiny_prior, tmp_path, monkeypatch, capsys):
    common = ("--data", pictures, "--prior", tiny_prior, "--minutes", 0)
    for script, more in (("tune_tasks", ()), ("tune_peers", ("--out", tmp_path / "out"))):
        with pytest.raises(SystemExit):
            run(load_script(script), monkeypatch, *common, f"--crop={crop}", "--tasks", "denoise", *more)
        assert f"error: a crop of {crop} pixels does not fit into pictures of 20x24 pixels\n" in capsys.readouterr().err
