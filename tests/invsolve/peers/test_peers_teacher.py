"""Every peer over the shipped teacher, with its tuned settings, on a real face: better than no method at all."""

from __future__ import annotations

import pytest
import torch

from invsolve.bench.baselines import BASELINES
from invsolve.checkpoint import load_prior
from invsolve.image import list_pictures, read_image
from invsolve.metrics import psnr
from invsolve.noise import NoiseStreams
from invsolve.peers import PEERS, settings_for
from invsolve.task import load_task

STEPS = {"dps": 100, "pigdm": 20, "ddrm": 20, "ddnm": 20, "diffpir": 20, "reddiff": 100, "daps": 25, "pnpdm": 10}


@pytest.fixture(scope="module")
def face(shared) -> torch.Tensor:
    """The middle of the first test picture, ``[1, 3, 64, 64]``."""
    picture = read_image(list_pictures([shared / "data" / "ffhq256" / "test"])[0], 3)
    return picture[None, :, 96:160, 96:160].contiguous()


@pytest.mark.slow
@pytest.mark.parametrize("task_name", ["deblur_gaussian", "inpaint_random", "denoise"])
@pytest.mark.parametrize("name", PEERS)
def test_it_beats_the_baseline(name, task_name, face, one_thread):
    task, denoiser = load_task(task_name), load_prior("teacher").denoiser
    operator = task.make_operator(tuple(face.shape[1:]))
    y = operator.measure(face, task.sigma_y, NoiseStreams(0, [(0, -1)]))
    settings = settings_for(name, task_name, STEPS[name])
    with torch.no_grad():
        restored = PEERS[name].restore(y, operator, denoiser, task.sigma_y, NoiseStreams(0, [0]), settings)
    assert psnr(restored, face)[0] > psnr(BASELINES[task.kind](y, operator), face)[0] + 0.5
