"""Checked dataclasses: a value that is not of its field's type, or out of its bounds, is refused in one clear line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest

from invsolve.specs.fields import Bounds, Checked, Count, Positive, Share, check_integer, check_number, from_mapping
from invsolve.specs.yaml_file import read_yaml


@dataclass(frozen=True)
class Inner(Checked):
    share: Share = 0.5


@dataclass(frozen=True)
class Example(Checked):
    name: str
    count: Count = 1
    scale: Positive = 1.0
    any_number: float = 0.0
    half_open: Annotated[float, Bounds(above=0, below=1)] | None = None
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    pair: tuple[Share, Share] = (0.0, 1.0)
    several: tuple[Count, ...] = ()
    path: Path = Path()
    inner: Inner = Inner()


BAD = [
    ({"name": 3}, TypeError, "name is 3 but must be text"),
    ({"name": " "}, ValueError, "name is ' ' but must be text"),
    ({"count": 2.0}, TypeError, "count is 2.0 but must be an integer"),
    ({"count": True}, TypeError, "count is True but must be an integer"),
    ({"count": 0}, ValueError, "count is 0 but must be at least 1"),
    ({"scale": "1"}, TypeError, "scale is '1' but must be a number"),
    ({"scale": False}, TypeError, "scale is False but must be a number"),
    ({"scale": 0}, ValueError, "scale is 0 but must be finite and above 0"),
    ({"any_number": float("nan")}, ValueError, "any_number is nan but must be finite"),
    ({"any_number": -float("inf")}, ValueError, "any_number is -inf but must be finite"),
    ({"scale": 10**400}, ValueError, f"scale is 1{'0' * 79}... but must be finite and above 0"),
    ({"scale": 16**5000}, ValueError, "scale is an integer of more than 4300 digits but must be finite and above 0"),
    ({"half_open": 1}, ValueError, "half_open is 1 but must be finite and above 0 and below 1"),
    ({"flag": 1}, TypeError, "flag is 1 but must be true or false"),
    ({"kind": ["a"]}, ValueError, "kind is ['a'] but must be one of a, b"),
    ({"pair": (0.5,)}, ValueError, "pair is [0.5] but must be a list of 2"),
    ({"pair": (0.5, 2)}, ValueError, "entry 2 of pair is 2 but must be finite and at least 0 and at most 1"),
    ({"several": 3}, ValueError, "several is 3 but must be a list"),
    ({"path": "a"}, TypeError, "path is 'a' but must be a Path"),
    ({"inner": {}}, TypeError, "inner is {} but must be a Inner"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD, ids=[message[:30] for *_, message in BAD])
def test_a_wrong_value_is_refused(change, kind, message):
    with pytest.raises(kind) as refusal:
        Example(**{"name": "x", **change})
    assert (str(refusal.value), type(refusal.value)) == (message, kind)


def test_numbers_of_numpy_are_numbers():
    assert Example("x", count=np.int64(3), scale=np.float32(2)).scale == 2
    check_integer("count", np.int32(3), 3)
    with pytest.raises(ValueError, match="sigma is -1 but must be finite and at least 0"):
        check_number("sigma", -1, at_least=0)


def test_a_mapping_becomes_the_dataclass():
    values = {"name": "x", "pair": [0, 0.5], "several": [2, 3], "half_open": None, "inner": {"share": 0.1}}
    assert from_mapping(Example, values, "f.yaml") == Example("x", pair=(0, 0.5), several=(2, 3), inner=Inner(0.1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "cuont": 1}, "f.yaml: unknown key 'cuont'; did you mean 'count'?"),
        ({"name": "x", "inner": {"q": 1}}, "f.yaml: inner: unknown key 'q'; expected one of share"),
        (
            {"name": "x", "inner": {"share": 2}},
            "f.yaml: inner: share is 2 but must be finite and at least 0 and at most 1",
        ),
        ({"name": "x", "inner": 2}, "f.yaml: inner: expected a mapping of keys to values, found int"),
        ({"name": "x", "count": 2.5}, "f.yaml: count is 2.5 but must be an integer"),
        ({}, "f.yaml: the key 'name' is missing"),
        ([1], "f.yaml: expected a mapping of keys to values, found a list"),
        (None, "f.yaml: expected a mapping of keys to values, found nothing"),
    ],
    ids=str,
)
def test_a_wrong_mapping_is_refused(values, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 (the message is compared)
        from_mapping(Example, values, "f.yaml")
    assert str(refusal.value) == message


def test_numbers_that_yaml_takes_for_text_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("[3e-4, 5.E-2, +1e+1, .5E-1, 1.5e0, 2_000, '1e3', 1e-1 of it]")
    assert read_yaml(path) == [3e-4, 0.05, 10.0, 0.05, 1.5, 2000, "1e3", "1e-1 of it"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "not a YAML file"),
        ("\xff", "not a YAML file"),
        ("name: a\nsigma_y: 2024-13-45\n", r"not a YAML file \(no timestamp: month must be .*, line 2, column 10"),
        (f"sigma_y: {'9' * 5000}", r"not a YAML file \(no int: Exceeds the limit"),
        ("sigma_y: !!bool 3", r"not a YAML file \(no bool: "),
        ("sigma_y: !!timestamp 3", r"not a YAML file \(no timestamp: "),
        ("a: " + 5000 * "[" + 5000 * "]", "nested too deeply"),
        (None, "No such file"),
    ],
    ids=["bracket", "bytes", "date", "digits", "bool", "timestamp", "depth", "gone"],
)
def test_files_that_are_no_yaml_are_refused_in_one_line(tmp_path, content, message):
    file = tmp_path / "t.yaml"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=message) as refusal:
        read_yaml(file)
    assert str(refusal.value).startswith(f"{file}: ")
    assert "\n" not in str(refusal.value)
