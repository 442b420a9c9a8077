"""Every peer over the shipped teacher, with its tuned settings, on a real face: better than no method at all.

The settings are tuned for LPIPS, which is what is compared; samples may have a lower PSNR than a smooth picture.
"""

from __future__ import annotations

import pytest
import torch

from invsolve.bench.baselines import BASELINES
from invsolve.images.files import list_pictures, read_image
from invsolve.images.metrics import load_lpips
from invsolve.peers import PEERS, settings_for
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.task import load_task

STEPS = {  # at most 20 evaluations, and about 100
    "dps": (20, 100),
    "pigdm": (20, 100),
    "ddrm": (20,),
    "ddnm": (20, 100),
    "diffpir": (20, 100),
    "reddiff": (20, 100),
    "daps": (20, 25),
    "pnpdm": (6, 10),
}


@pytest.fixture(scope="module")
def face(shared) -> torch.Tensor:
    """The middle of the first test picture, ``[1, 3, 128, 128]``."""
    picture = read_image(list_pictures([shared / "data" / "ffhq256" / "test"])[0], 3)
    return picture[None, :, 64:192, 64:192].contiguous()


@pytest.mark.slow
@pytest.mark.parametrize("task_name", ["deblur_gaussian", "inpaint_random", "sr4x"])
@pytest.mark.parametrize(("name", "steps"), [(name, steps) for name in PEERS for steps in STEPS[name]])
def test_it_beats_the_baseline(name, steps, task_name, face, lpips_trunk, one_thread):
    task, denoiser = load_task(task_name), load_prior("teacher").denoiser
    operator = task.make_operator(tuple(face.shape[1:]))
    y = operator.measure(face, task.sigma_y, NoiseStreams(0, [(0, -1)]))
    settings = settings_for(name, task_name, steps)
    with torch.no_grad():
        restored = PEERS[name].restore(y, operator, denoiser, task.sigma_y, NoiseStreams(0, [0]), settings)
    lpips = load_lpips(lpips_trunk)
    assert lpips(restored, face)[0] < 0.7 * lpips(BASELINES[task.kind](y, operator), face)[0]
