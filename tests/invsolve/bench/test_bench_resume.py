"""An interrupted benchmark goes on where it was, and refuses to mix two runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_cases import Bench, assert_same_figures, figures, make_bench, write_denoiser, write_pictures
from cli_pictures import environment
from safetensors.torch import load_file, save_file

from invsolve.bench.store import append, is_last_writer, merge, read_results
from invsolve.cli import main
from invsolve.runtime import folder_lock
from invsolve.runtime.shipped import shipped

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT = 8  # pictures


@pytest.fixture(scope="module")
def bench(tiny_prior, tmp_path_factory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"), tiny_prior, COUNT)


def row(image: str, index: int = 0) -> dict:
    return {"task": "t", "method": "m", "image": image, "index": index, "psnr": 1.5}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def start(arguments: list[str], **variables: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "invsolve", *arguments]
    environ = {**environment(), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(path: Path, count: int, process: subprocess.Popen) -> None:
    while not path.is_file() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def test_a_run_that_was_killed_goes_on_to_the_same_results(bench, undisturbed):
    """SIGKILL in the middle; the lines on the disk by then stay as they are, the others are as if undisturbed."""
    results = bench.folder / "killed" / "results.jsonl"
    process = start(bench.arguments("killed"))
    wait_for_lines(results, 5, process)
    process.kill()
    process.communicate()
    before = results.read_text()
    assert 5 <= before.count("\n") < 6 * COUNT
    assert not (bench.folder / "killed" / "summary.json").exists()

    bench("killed")
    assert results.read_text().startswith(before[: before.rindex("\n") + 1])
    assert results.read_text().count("\n") == 6 * COUNT
    assert_same_figures(bench.folder / "killed", undisturbed, tolerance=1e-6)
    assert (bench.folder / "killed" / "report.html").is_file()


def test_a_line_that_was_cut_off_is_made_again(bench, undisturbed):
    shutil.copytree(undisturbed, bench.folder / "cut")
    results = bench.folder / "cut" / "results.jsonl"
    whole = results.read_bytes()
    results.write_bytes(whole[:-30])
    bench("cut")
    assert results.read_bytes().splitlines()[:-1] == whole.splitlines()[:-1]
    assert_same_figures(bench.folder / "cut", undisturbed, tolerance=0)


def test_a_run_beside_another_is_refused(bench, undisturbed, monkeypatch, capsys):
    """Its lines would be lost when the other, the first to end, puts all lines together."""
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.0)
    before = contents(undisturbed)
    with folder_lock.locked(undisturbed):
        for options in ([], ["--redo", "baseline"]):
            assert main(bench.arguments("undisturbed", *options)) == 2
            assert f"error: another run is at work in {undisturbed}: wait for its end" in capsys.readouterr().err
    assert contents(undisturbed) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", 1], "its seed was 0 and now is 1"),
        (["--steps", 3], "its steps was 4 and now is 3"),
        (["--samples", 2], "its samples was null and now is 2"),
        (["--limit", 3], "its limit was null and now is 3"),
    ],
)
def test_other_options_in_the_same_folder_are_refused(options, message, bench, undisturbed, capsys):
    before = contents(undisturbed)
    assert main(bench.arguments("undisturbed", *options)) == 2
    hint = "repeat the options of that run, or choose another --out"
    assert capsys.readouterr().err == f"invsolve: error: {undisturbed} holds another run: {message}; {hint}\n"
    assert contents(undisturbed) == before


def test_other_pictures_and_other_weights_are_refused(bench, undisturbed, tmp_path, capsys):
    assert main(bench.arguments("undisturbed", "--data", write_pictures(tmp_path / "fewer", 3))) == 2
    assert '{"count": 8' in capsys.readouterr().err
    other = write_denoiser(tmp_path / "denoiser.safetensors", seed=9)
    assert main(bench.arguments("undisturbed", "--denoiser", other)) == 2
    assert "holds results of teacher:2 at sr4x by other settings or weights (denoiser was " in capsys.readouterr().err


def test_other_pictures_of_the_same_names_are_refused(bench, undisturbed, tmp_path, capsys):
    """A zip file of the same ones is not."""
    copy = shutil.copytree(bench.pictures, tmp_path / "copy")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", copy))
    bench("undisturbed", "--data", packed)
    changed = min(copy.iterdir())
    shutil.copy(max(copy.iterdir()), changed)
    capsys.readouterr()
    assert main(bench.arguments("undisturbed", "--data", copy)) == 2
    assert "holds another run: its digest of the pictures was " in capsys.readouterr().err


def test_another_lpips_trunk_is_refused(bench, undisturbed, tmp_path, capsys):
    other = shutil.copy(bench.folder / "trunk.safetensors", tmp_path)
    bench("undisturbed", "--lpips-trunk", other)
    tensors = load_file(other)
    save_file(tensors | {"features.0.bias": tensors["features.0.bias"] + 1}, other)
    capsys.readouterr()
    assert main(bench.arguments("undisturbed", "--lpips-trunk", other)) == 2
    assert "holds another run: its digest of the LPIPS trunk was " in capsys.readouterr().err


def test_a_run_without_the_lpips_trunk_says_how_to_give_it(bench, undisturbed, tmp_path):
    """torchvision finds no weights in its cache, and its downloads go to a port where nobody listens."""
    arguments = bench.arguments("undisturbed")
    del arguments[(at := arguments.index("--lpips-trunk")) : at + 2]
    nowhere = {"TORCH_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "INVSOLVE_LPIPS_TRUNK": ""}
    process = start(arguments, **nowhere)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "LPIPS unavailable" in said + errors
    expected = f"{undisturbed} has LPIPS of every restoration, and this run cannot compute it: give AlexNet's weights"
    assert f"invsolve: error: {expected} by --lpips-trunk FILE or INVSOLVE_LPIPS_TRUNK" in errors


def test_a_run_with_lpips_is_not_mixed_with_one_without(bench, undisturbed, capsys):
    shutil.copytree(undisturbed, bench.folder / "no lpips")
    path = bench.folder / "no lpips" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lpips": False, "lpips_sha256": None}))
    assert main(bench.arguments("no lpips")) == 2
    assert f"{path.parent} has no LPIPS, which this run can compute: choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tasks": ["sr4x"]}'])
def test_a_file_that_is_no_record_is_refused(text, bench, tmp_path, capsys):
    out = bench.folder / tmp_path.name
    out.mkdir()
    (out / "run.json").write_text(text)
    assert main(bench.arguments(out.name)) == 2
    assert f"error: {out}/run.json is not the record of a benchmark: choose another --out" in capsys.readouterr().err


def test_the_record_names_every_device(bench, undisturbed):
    shutil.copytree(undisturbed, bench.folder / "devices")
    path = bench.folder / "devices" / "run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps(run | {"device": "a GPU"}))
    for _ in range(2):
        bench("devices")
        assert json.loads(path.read_text())["device"] == f"a GPU; {run['device']}"


def test_a_degradation_that_was_changed_is_refused(bench, tmp_path, capsys):
    text = (shipped("tasks") / "denoise.yaml").read_text()
    path = tmp_path / "denoise.yaml"
    path.write_text(text)
    bench("changed", "--tasks", path, "--methods", "baseline", "--limit", 1)
    path.write_text(text.replace("sigma_y: 0.05", "sigma_y: 0.06"))
    assert main(bench.arguments("changed", "--tasks", path, "--methods", "baseline", "--limit", 1)) == 2
    assert "holds another run: at denoise its sigma_y was 0.05 and now is 0.06; repeat" in capsys.readouterr().err


def test_methods_and_tasks_can_be_added(bench, undisturbed):
    shutil.copytree(undisturbed, bench.folder / "grown")
    bench("grown", "--tasks", "denoise", "--methods", "ncvsd:2")
    record = json.loads((bench.folder / "grown" / "run.json").read_text())
    assert record["tasks"] == ["sr4x", "inpaint_random", "denoise"]
    assert record["methods"] == ["baseline", "ncvsd", "teacher:2", "ncvsd:2"]
    rows = figures(bench.folder / "grown")
    expected = figures(undisturbed)
    assert {key: rows[key] for key in expected} == expected
    assert {key[:2] for key in rows.keys() - expected.keys()} == {("denoise", "ncvsd:2")}
    assert len(rows) == 7 * COUNT


def test_pictures_can_be_added(bench, undisturbed):
    """The run ends as if it had had them all from the start; what was there of the first ones stays as it was."""
    out = bench("more", "--limit", 3)
    before = (out / "results.jsonl").read_text()
    bench("more", "--limit", COUNT)
    assert (out / "results.jsonl").read_text().startswith(before)
    assert_same_figures(out, undisturbed, tolerance=0)
    grown, record = (json.loads((folder / "run.json").read_text()) for folder in (out, undisturbed))
    assert grown == record | {"options": record["options"] | {"limit": COUNT}}
    assert {entry["images"] for entry in json.loads((out / "summary.json").read_text())["entries"]} == {COUNT}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "baseline,ddrm:2"], "methods alike, so add ncvsd,teacher:2 to --methods"),
        (["--tasks", "sr4x"], "tasks alike, so add inpaint_random to --tasks"),
    ],
)
def test_pictures_are_not_added_for_some_methods_or_tasks_alone(options, message, bench, tmp_path, capsys):
    out = bench(tmp_path.name, "--limit", 1)
    before = contents(out)
    capsys.readouterr()
    assert main(bench.arguments(tmp_path.name, "--limit", 2, *options)) == 2
    start = f"invsolve: error: {out} has the first 1 of these 2 pictures: the others are for all of its "
    assert capsys.readouterr().err == f"{start}{message}\n"
    assert contents(out) == before


def test_more_pictures_of_which_the_first_are_others_are_refused(bench, tmp_path, capsys):
    out = bench(tmp_path.name, "--limit", 2)
    copy = shutil.copytree(bench.pictures, tmp_path / "copy")
    shutil.copy(max(copy.iterdir()), min(copy.iterdir()))
    capsys.readouterr()
    assert main(bench.arguments(tmp_path.name, "--data", copy)) == 2
    assert f"{out} holds another run: its digest of the pictures was " in capsys.readouterr().err
    min(copy.iterdir()).rename(copy / "00000a.png")
    assert main(bench.arguments(tmp_path.name, "--data", copy)) == 2
    assert 'holds another run: its images was {"count": 2' in capsys.readouterr().err


def test_a_folder_of_results_without_their_record_is_refused(bench, capsys):
    append_to = bench.folder / "stray" / "results.jsonl"
    append_to.parent.mkdir()
    append(append_to, [row("a")])
    assert main(bench.arguments("stray")) == 2
    assert "holds results without run.json" in capsys.readouterr().err


@pytest.mark.parametrize("tail", [b"", b'{"task": "t", "met', b"x" * 200_000, json.dumps(row("d")).encode()])
def test_an_unfinished_line_gives_way_to_the_next(tail, tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, [row("a"), row("b")])
    path.write_bytes(path.read_bytes() + tail)
    assert set(read_results(tmp_path)) == {("t", "m", "a"), ("t", "m", "b")}
    append(path, [row("c")])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [row("a"), row("b"), row("c")]


def test_parts_are_merged_in_order_and_removed(tmp_path):
    first, second = tmp_path / "results.rank0.jsonl", tmp_path / "results.rank1.jsonl"
    append(tmp_path / "results.jsonl", [row("b", 1)])
    append(second, [row("d", 3), row("a", 0)])
    append(first, [row("c", 2)])
    os.utime(second, ns=(0, first.stat().st_mtime_ns - 1))  # the file system's clock may be coarse
    assert (is_last_writer(tmp_path, first), is_last_writer(tmp_path, second)) == (True, False)
    merge(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert not is_last_writer(tmp_path, second)
    merged = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert merged == [row(name, i) for i, name in enumerate("abcd")]
