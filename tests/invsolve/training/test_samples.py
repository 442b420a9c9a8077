"""The noise of training samples: a function of (seed, sample index) alone."""

from __future__ import annotations

import torch

from invsolve.training.samples import SampleNoise

CPU = torch.device("cpu")


def test_noise_belongs_to_the_sample():
    together, alone = SampleNoise(0, [3, 4, 5], CPU), SampleNoise(0, [5], CPU)
    for shape in ((2, 3), (4,)):  # successive calls go on in each stream
        a, b = together(shape), alone(shape)
        assert torch.equal(a[2], b[0])
        assert not torch.equal(a[0], a[2])
    assert not torch.equal(SampleNoise(1, [5], CPU)((9,)), SampleNoise(0, [5], CPU)((9,)))


def test_a_micro_batch_has_the_noise_of_its_samples():
    whole, parts = SampleNoise(0, range(4), CPU), SampleNoise(0, range(4), CPU)
    assert torch.equal(whole((2,)), parts((2,)))
    assert torch.equal(whole((3,)), torch.cat([part((3,)) for part in parts.split(2)]))
