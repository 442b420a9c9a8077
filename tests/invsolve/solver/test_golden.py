"""Restorations by the shipped prior stay what they are, number by number: a net for changes of structure.

python tests/invsolve/solver/test_golden.py    # writes golden.json anew, after a change that is meant
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from invsolve import load_prior, load_task, posterior, solve
from invsolve.images.files import read_image
from invsolve.networks.inference import Inference
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.task import list_linear_tasks
from operators import Mask, Resize, random_mask

GOLDEN = Path(__file__).with_name("golden.json")
SIZE = 64
CORNERS = {"astronaut": (70, 190), "coffee": (150, 250)}  # top and left of the piece of each picture
PIXELS = 12  # of each result, spread over it
# Not those whose steps are accepted or refused: rounding decides some, and another processor rounds in another way.
TASKS = [*list_linear_tasks(), "declip", "dequantize", "jpeg"]
CASES = [f"{task}-{steps}" for task in TASKS for steps in (4, 16)]
CASES += ["posterior-mean", "posterior-std", "automatic"]


def pictures() -> torch.Tensor:
    """Two pieces of photographs ``[2, 3, 64, 64]``."""
    pieces = [(read_image(f"skimage:{name}"), *corner) for name, corner in CORNERS.items()]
    return torch.stack([image[:, top : top + SIZE, left : left + SIZE] for image, top, left in pieces])


def restored(case: str) -> torch.Tensor:
    truth, prior, noise = pictures(), load_prior(inference=Inference("fp32")), NoiseStreams(3, range(2))
    shape = tuple(truth.shape[1:])
    if case == "automatic":
        operator = Mask((3, 16, 16), random_mask((16, 16), 0.2, 0)) @ Resize(shape, 4)
        return solve(operator.measure(truth, 0.05, noise), operator, prior=prior)
    task_name, _, rest = case.partition("-")
    task = load_task("sr4x" if task_name == "posterior" else task_name)
    operator = task.make_operator(shape)
    y, model = task.measure(operator, truth, noise), task.noise(operator)
    if task_name == "posterior":
        return getattr(posterior(y, operator, 3, 4, prior=prior, settings=task.settings(4)), rest)
    steps = int(rest)
    return solve(y, operator, steps, task.sigma_y, prior, settings=task.settings(steps), noise=model)


def numbers(images: torch.Tensor) -> list[list[float]]:
    """Of each image its mean, its standard deviation and some pixels."""
    places = torch.linspace(0, images[0].numel() - 1, PIXELS).long()
    rows = [[image.mean(), image.std(), *image.flatten()[places]] for image in images.double()]
    return [[round(float(value), 7) for value in row] for row in rows]


@pytest.fixture(scope="module")
def golden() -> dict[str, list[list[float]]]:
    return json.loads(GOLDEN.read_text())


FAST = "inpaint_box-16"  # of those with 16 evaluations, which take long


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[pytest.mark.slow] if c.endswith("-16") and c != FAST else []) for c in CASES],
)
def test_restorations_are_what_they_were(case, golden):
    found = numbers(restored(case))
    assert torch.tensor(found) == pytest.approx(torch.tensor(golden[case]), rel=0, abs=1e-5)


if __name__ == "__main__":
    values = {case: numbers(restored(case)) for case in CASES}
    lines = ",\n".join(f"  {json.dumps(case)}: {json.dumps(rows)}" for case, rows in values.items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n")
