"""Result files of several processes: read and merged exactly, whatever another process does to them meanwhile."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from invsolve.bench import store
from invsolve.bench.statistics import read_benchmark
from invsolve.bench.store import append, has_results, merge, read_results

EXPECTED = [("t", "m", name) for name in "abcde"]


def row(image: str) -> dict:
    return {"task": "t", "method": "m", "image": image, "index": ord(image), "psnr": 1.5}


def write_parts(folder: Path, merged: str) -> Path:
    """Five lines in the files of two processes and, those of ``merged``, in ``results.jsonl``."""
    folder.mkdir()
    if merged:
        append(folder / "results.jsonl", [row(name) for name in merged])
    for rank, names in enumerate(("cb", "aed")):
        append(folder / f"results.rank{rank}.jsonl", [row(name) for name in names if name not in merged])
    return folder


def merge_and_die(folder: Path) -> None:
    """A merge that is killed before it has removed the last part."""
    part = max(folder.glob("results.rank*.jsonl"))
    kept = part.read_bytes()
    merge(folder)
    part.write_bytes(kept)


class Interruption:
    """Calls ``act`` before the file operation at a position; those of ``act`` itself do not count."""

    def __init__(self, position: int, act: Callable[[], None]):
        self.position, self.act, self.happened = position, act, False

    def before(self, operation: Callable) -> Callable:
        def wrapped(*arguments, **keywords):
            self.position -= 1
            if self.position < 0 and not self.happened:
                self.happened = True
                self.act()
            return operation(*arguments, **keywords)

        return wrapped


@pytest.fixture
def everywhere(tmp_path, monkeypatch):
    """Call a function on the parts as often as it makes file operations, with something happening before each."""

    def run(function: Callable[[Path], object], act: Callable[[Path], None], merged: str) -> list[tuple[Path, object]]:
        ended = []
        for position in itertools.count():
            folder = write_parts(tmp_path / str(position), merged)
            interruption = Interruption(position, lambda folder=folder: act(folder))
            with monkeypatch.context() as patch:
                for name in ("glob", "is_file", "read_text", "unlink"):
                    patch.setattr(Path, name, interruption.before(getattr(Path, name)))
                patch.setattr(store, "write_atomically", interruption.before(store.write_atomically))
                ended.append((folder, function(folder)))
            if not interruption.happened:
                return ended

    return run


@pytest.mark.parametrize("merged", ["", "a"], ids=["first", "again"])
@pytest.mark.parametrize("act", [merge, merge_and_die])
def test_another_process_may_merge_at_any_moment_of_a_merge(everywhere, act, merged):
    ended = everywhere(merge, act, merged)
    assert len(ended) > 5
    for folder, _ in ended:
        assert [path.name for path in folder.iterdir()] == ["results.jsonl"]
        lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        assert lines == [row(name) for _, _, name in EXPECTED]


@pytest.mark.parametrize("merged", ["", "a"], ids=["first", "again"])
@pytest.mark.parametrize("act", [merge, merge_and_die])
def test_another_process_may_merge_while_the_lines_are_read(everywhere, act, merged):
    ended = everywhere(read_results, act, merged)
    assert len(ended) > 3
    for _, found in ended:
        assert sorted(found) == EXPECTED
        assert found["t", "m", "d"] == row("d")


def test_files_of_other_names_are_no_results(tmp_path):
    """Copies that somebody kept are neither read nor removed."""
    others = ["results-old.jsonl", "results.rank0-old.jsonl", "results.rank.jsonl", "results.rank0.jsonl.bak"]
    for name in others:
        append(tmp_path / name, [row("z")])
    assert not has_results(tmp_path)
    append(tmp_path / "results.rank10.jsonl", [row("a")])
    (entry,) = read_benchmark(tmp_path).tasks["t"]
    assert [line["image"] for line in entry.rows] == ["a"]
    merge(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["results.jsonl", *others])
    assert list(read_results(tmp_path)) == [("t", "m", "a")]
