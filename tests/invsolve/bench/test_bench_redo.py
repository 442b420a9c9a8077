"""A method that was changed is refused until it is redone, which leaves the results of all others as they were."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bench_cases import assert_same_figures, figures, write_denoiser

from invsolve.bench import run_file, store
from invsolve.bench.run_file import difference
from invsolve.bench.store import append, drop, read_results
from invsolve.cli import main
from invsolve.runtime.shipped import shipped

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def retuned(bench, undisturbed, tmp_path) -> tuple[Path, list]:
    """A copy of the finished benchmark, and the options of a run after sr4x's settings for few steps have changed."""
    task = yaml.safe_load((shipped("tasks") / "sr4x.yaml").read_text())
    for stage in task["settings"][:-1]:
        stage["sigma_max"] *= 1.2
    (tmp_path / "sr4x.yaml").write_text(yaml.safe_dump(task))
    out = bench.folder / tmp_path.name
    shutil.copytree(undisturbed, out)
    return out, ["--tasks", tmp_path / "sr4x.yaml"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(folder: Path, task: str, method: str) -> list[bytes]:
    """As they are in the file."""
    whole = (folder / "results.jsonl").read_bytes().splitlines()
    return [line for line in whole if (json.loads(line)["task"], json.loads(line)["method"]) == (task, method)]


def definitions(folder: Path) -> dict[str, dict[str, dict]]:
    return json.loads((folder / "run.json").read_text())["definitions"]


def test_methods_that_were_retuned_are_refused_by_name(bench, undisturbed, retuned, capsys):
    out, options = retuned
    assert main(bench.arguments(out.name, *options)) == 2
    error = capsys.readouterr().err
    was = definitions(out)["ncvsd"]["sr4x"]["sigma_max"]
    change = f"sigma_max was {was} and now is {1.2 * was}"
    expected = f"{out} holds results of ncvsd at sr4x by other settings or weights ({change}): "
    expected += "--redo ncvsd,teacher:2 computes them again, or choose another --out"
    assert error == f"invsolve: error: {expected}\n"
    assert contents(out) == contents(undisturbed)


def test_renamed_settings_are_the_same(bench, undisturbed):
    """What identifies a result is its values; two that were exchanged between names are others."""
    out = bench.folder / "renamed"
    shutil.copytree(undisturbed, out)
    run = json.loads((out / "run.json").read_text())
    for stages in run["definitions"].values():
        for task, definition in stages.items():
            stages[task] = {{"sigma_max": "first", "revision": "version"}.get(k, k): v for k, v in definition.items()}
    run["degradations"]["sr4x"]["times"] = run["degradations"]["sr4x"].pop("factor")
    (out / "run.json").write_text(json.dumps(run))
    bench("renamed")
    assert figures(out) == figures(undisturbed)
    was = {"a": 1, "b": 2, "c": [3]}
    assert difference(was, {"x": 2, "b": 2, "c": [3]}) == 'there were {"a": 1} and now are {"x": 2}'
    assert difference(was, {"a": 2, "b": 1, "c": [3]}) == "a was 1 and now is 2"
    assert difference(was, {"x": [3], "y": 1, "b": 2}) is None


def test_redoing_one_method_leaves_all_else_as_it_was(bench, undisturbed, retuned, capsys):
    """Its figures are then those of a new folder; the other method that was changed is refused as before."""
    out, options = retuned
    bench(out.name, *options, "--methods", "baseline,ncvsd", "--redo", "ncvsd")
    fresh = bench(f"{out.name} fresh", *options, "--methods", "ncvsd")

    pairs = [(task, m) for task in ("sr4x", "inpaint_random") for m in ("baseline", "ncvsd", "teacher:2")]
    pairs.remove(("sr4x", "ncvsd"))
    assert [lines(out, *pair) for pair in pairs] == [lines(undisturbed, *pair) for pair in pairs]
    found, before = figures(out), figures(undisturbed)
    assert found.keys() == before.keys()
    for key, row in figures(fresh).items():
        assert found[key] == row
        assert row["psnr"] != before[key]["psnr"]

    changed = {name for name, content in contents(undisturbed).items() if contents(out)[name] != content}
    derived = {"results.jsonl", "run.json", "summary.json", "summary.md", "report.html"}
    assert changed == {*derived, "pictures/sr4x/00000/ncvsd.png"}

    expected = definitions(undisturbed)
    expected["ncvsd"]["sr4x"] = definitions(fresh)["ncvsd"]["sr4x"]
    assert definitions(out) == expected
    assert main(bench.arguments(out.name, *options)) == 2
    assert "holds results of teacher:2 at sr4x" in capsys.readouterr().err


def test_settings_that_no_method_uses_and_texts_may_change(bench, undisturbed, retuned, tmp_path):
    """The baseline has no settings, and nobody takes as many steps as the last; nothing is computed again."""
    out, options = retuned
    bench(out.name, *options, "--methods", "baseline")
    task = yaml.safe_load((shipped("tasks") / "sr4x.yaml").read_text())
    task["settings"][-1]["sigma_max"] *= 1.2
    (tmp_path / "sr4x.yaml").write_text(yaml.safe_dump({**task, "description": "another text"}))
    bench(out.name, *options)
    assert (out / "results.jsonl").read_bytes() == (undisturbed / "results.jsonl").read_bytes()
    assert (out / "run.json").read_bytes() == (undisturbed / "run.json").read_bytes()


@pytest.mark.parametrize(("module", "left"), [(store, 30), (run_file, 25)], ids=["before the lines", "the record"])
def test_a_redo_that_is_killed_while_it_drops_leaves_a_valid_folder(
    module, left, bench, undisturbed, retuned, monkeypatch
):
    """Before the lines are dropped all is as it was; before the record is written, it goes on with either command."""
    out, options = retuned
    options = [*options, "--methods", "ncvsd"]

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomically", die)
        assert main(bench.arguments(out.name, *options, "--redo", "ncvsd")) != 0
    assert len(read_results(out)) == left
    assert (out / "run.json").read_bytes() == (undisturbed / "run.json").read_bytes()
    assert (contents(out) == contents(undisturbed)) == (left == 30)

    bench(out.name, *options, *(["--redo", "ncvsd"] if left == 30 else []))
    fresh = figures(bench(f"{out.name} fresh", *options))
    assert {key: row for key, row in figures(out).items() if key in fresh} == fresh
    assert len(read_results(out)) == 30


def test_a_redo_with_other_options_is_refused_before_it_drops(bench, undisturbed, retuned, capsys):
    out, options = retuned
    assert main(bench.arguments(out.name, *options, "--methods", "ncvsd", "--redo", "ncvsd", "--seed", 1)) == 2
    assert "its seed was 0 and now is 1" in capsys.readouterr().err
    assert main(bench.arguments(out.name, *options, "--redo", "ncvsd")) == 2
    assert "holds results of teacher:2 at sr4x" in capsys.readouterr().err
    assert contents(out) == contents(undisturbed)


def test_another_network_needs_its_methods_redone(bench, undisturbed, tmp_path):
    out = bench.folder / "network"
    shutil.copytree(undisturbed, out)
    other = write_denoiser(tmp_path / "denoiser.safetensors", seed=9)
    options = ["--denoiser", other, "--tasks", "sr4x"]
    bench("network", *options, "--redo", "teacher:2")
    run, before = (json.loads((folder / "run.json").read_text()) for folder in (out, undisturbed))
    assert run["denoiser"]["sha256"] != before["denoiser"]["sha256"]
    assert run["prior"] == before["prior"]
    assert definitions(out)["teacher:2"]["sr4x"]["denoiser"] == run["denoiser"]["sha256"][:12]
    assert definitions(out)["teacher:2"]["inpaint_random"]["denoiser"] == before["denoiser"]["sha256"][:12]
    assert lines(out, "sr4x", "ncvsd") == lines(undisturbed, "sr4x", "ncvsd")
    found, expected = figures(out), figures(undisturbed)
    assert {key[:2] for key in expected if found[key] != expected[key]} == {("sr4x", "teacher:2")}


def test_one_of_all_baselines_can_be_redone(bench):
    """At the tasks that have it; the others' lines stay as they are."""
    arguments = ("--tasks", "sr4x,inpaint_random", "--methods", "baselines", "--limit", 1)
    out = bench("some", *arguments)
    before = (out / "results.jsonl").read_text().splitlines()
    bench("some", *arguments, "--redo", "baseline:lanczos")
    after = (out / "results.jsonl").read_text().splitlines()
    assert [line for line in before if line not in after] != []
    changed = {(row["task"], row["method"]) for row in map(json.loads, set(before) - set(after))}
    assert changed == {("sr4x", "baseline:lanczos")}
    assert len(after) == len(before)


def test_a_method_to_redo_must_be_among_the_methods(bench, capsys):
    assert main(bench.arguments("absent", "--redo", "ncvsd,dps")) == 2
    message = "--redo: dps is not among --methods, which are baseline, ncvsd, teacher:2"
    assert capsys.readouterr().err == f"invsolve: error: {message}\n"
    assert not (bench.folder / "absent").exists()


def test_lines_of_all_processes_are_dropped(tmp_path):
    def row(task: str, method: str, image: str) -> dict:
        return {"task": task, "method": method, "image": image, "index": int(image), "psnr": 0.1}

    append(tmp_path / "results.jsonl", [row("t", "m:2", "0"), row("u", "m:2", "0"), row("t", "n", "0")])
    append(tmp_path / "results.rank1.jsonl", [row("t", "m:2", "1"), row("t", "n", "1")])
    pictures = [tmp_path / "pictures" / task / "0" for task in "tu"]
    for folder in pictures:
        folder.mkdir(parents=True)
        for name in ("truth", "measurement", "m_2", "m_2_std", "n"):
            (folder / f"{name}.png").touch()
    drop(tmp_path, {("t", "m:2"), ("t", "absent")})
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert kept == [row("t", "n", "0"), row("t", "n", "1"), row("u", "m:2", "0")]
    assert [path.name for path in tmp_path.glob("results*")] == ["results.jsonl"]
    found = [{path.stem for path in folder.iterdir()} for folder in pictures]
    assert found == [{"truth", "measurement", "n"}, {"truth", "measurement", "m_2", "m_2_std", "n"}]


@pytest.mark.slow
def test_of_two_processes_one_drops(bench, undisturbed, retuned):
    """Each computes its share once."""
    out, options = retuned
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "invsolve"]
    command = [*start, *bench.arguments(out.name, *options, "--redo", "ncvsd,teacher:2")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("| Task | Method |") == 1
    assert len((out / "results.jsonl").read_text().splitlines()) == 30
    kept = [("sr4x", "baseline"), *(("inpaint_random", method) for method in ("baseline", "ncvsd", "teacher:2"))]
    assert [lines(out, *pair) for pair in kept] == [lines(undisturbed, *pair) for pair in kept]
    drop(out, {*kept[1:]})
    assert_same_figures(out, bench(f"{out.name} fresh", *options))
