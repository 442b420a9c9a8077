"""Shipped configurations of trainings are found by name from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from invsolve.cli import main
from invsolve.runtime.shipped import shipped
from invsolve.specs.recipe import RECIPES

HOMES = {"train": "teacher", "distill": "distill", "finetune": "finetune"}  # in invsolve.training
MORE = {"train": [], "distill": ["--teacher", "t"], "finetune": ["--teacher", "t", "--generator", "g"]}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a training, from an empty folder, that only notes the configuration it was given."""
    monkeypatch.chdir(tmp_path)
    given = []

    def command(name: str, config: str) -> Path | None:
        monkeypatch.setattr(f"invsolve.training.{HOMES[name]}.{name}", lambda config, *_, **__: given.append(config))
        code = main([name, config, "--data", "d", "--out", "o", *MORE[name]])
        assert code == (0 if given else 2)
        return given.pop() if given else None

    return command


def test_all_configurations_beside_the_weights_have_a_name():
    assert sorted(path.stem for path in shipped("checkpoints").glob("*.yaml")) == sorted(RECIPES)


@pytest.mark.parametrize(("name", "command"), [(name, command) for name, (command, _) in RECIPES.items()])
def test_a_name_is_a_shipped_file_from_anywhere(start, name, command):
    assert start(command, name) == shipped("checkpoints") / f"{name}.yaml"


@pytest.mark.parametrize("path", ["checkpoints/default-teacher.yaml", "default-teacher.yaml", "mine.yml", "mine"])
def test_a_path_is_a_path(start, tmp_path, path):
    (tmp_path / "mine").touch()
    assert start("train", path) == Path(path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("default-techer", "; did you mean 'default-teacher'?"),
        ("default-distill", "; did you mean 'default-teacher'?"),
        ("mine", "; expected one of default-teacher, published-ffhq256-teacher"),
    ],
)
def test_an_unknown_name_is_one_line(start, capsys, name, advice):
    assert start("train", name) is None
    expected = f"no configuration {name!r} of invsolve train{advice} (or give the path of a .yaml file)"
    assert capsys.readouterr().err == f"invsolve: error: {expected}\n"


def test_info_lists_tasks_priors_and_recipes(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    for name in ("sr4x", "colorize", "default", "teacher"):
        assert f"  {name} " in printed
    for name, (command, description) in RECIPES.items():
        assert f"  {name:<26} invsolve {command}: {description}\n" in printed
