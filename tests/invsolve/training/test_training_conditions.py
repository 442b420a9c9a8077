"""All networks of a distillation are conditioned on the samples' classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from invsolve.data.labels import one_hot
from invsolve.networks.unet import UNet, UNetConfig, conditional_from
from invsolve.priors.denoiser import Denoiser, GenerativeDenoiser
from invsolve.specs.recipe import DistillConfig
from invsolve.training.discriminator import Discriminator
from invsolve.training.distill import DistillStep, Generated
from invsolve.training.samples import SampleNoise, Samples

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=["inputs", "encoder"])
def step(request) -> DistillStep:
    """Before the first step, from a teacher that knows three classes, every gain away from its zero start."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(8, 16), blocks=(1, 1), labels=3))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("gain", "gain_out")):
                parameter.fill_(0.7)
    generator, fake, critic = (conditional_from(network, request.param) for _ in range(3))
    config = DistillConfig(precision="fp32")
    student = GenerativeDenoiser(Denoiser(generator), config.gamma)
    return DistillStep(student, Denoiser(fake), Discriminator(critic, 0.5), Denoiser(network), {}, config)


def generated(step: DistillStep, *classes: int) -> Generated:
    """Of always the same pictures and noise."""
    stream, count = torch.Generator().manual_seed(0), len(classes)
    x, normals = torch.randn(count, 3, 16, 16, generator=stream), torch.randn(count, 4, generator=stream)
    noise = SampleNoise(0, range(count), torch.device("cpu"))
    return step.generate(Samples(x, normals, noise, one_hot(torch.tensor(classes), 3)))


def denoised(step: DistillStep, part: Generated, *classes: int) -> Tensor:
    with torch.no_grad():
        return step.teacher(part.noised.u_eff, part.noised.s_eff, labels=torch.tensor(classes))


def test_the_fake_denoiser_starts_as_the_teacher_of_the_same_class(step):
    """So that the gradient of the distillation is 0."""
    part = generated(step, 0, 2)
    step.learn_fake(part)
    assert (part.fake_output - denoised(step, part, 0, 2)).abs().max() < 1e-5
    assert (part.fake_output - denoised(step, part, 1, 0)).abs().amax((1, 2, 3)).min() > 0.01
    assert step.distillation_gradient(part).abs().max() < 1e-5


def test_the_generator_is_conditioned_on_the_class(step):
    samples = [generated(step, *classes).x for classes in ((0, 2), (1, 2))]
    assert (samples[0][0] - samples[1][0]).abs().max() > 0.01
    assert (samples[0][1] - samples[1][1]).abs().max() < 1e-5


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_the_logits_of_the_discriminator_depend_on_the_class(step, mix):
    """Where it has two encoders, by what the first says (``mix`` 0) and the second."""
    if step.discriminator.mix is not None:
        torch.nn.init.constant_(step.discriminator.mix.weight, mix)
    part, logits = generated(step, 0, 2), []
    for classes in ((0, 2), (1, 2)):
        part.noised.labels = one_hot(torch.tensor(classes), 3)
        logits.append(step.discriminator(part.noised).detach())
    assert (logits[0][0] - logits[1][0]).abs().max() > 0.01
    assert (logits[0][1] - logits[1][1]).abs().max() < 1e-5


def test_the_discriminator_is_given_the_classes_of_the_samples(step):
    seen, part = [], generated(step, 0, 2)
    step.discriminator.register_forward_pre_hook(lambda module, given: seen.append(given[0].labels))
    step.learn_discriminator(part)
    step.adversarial_gradient(part)
    assert len(seen) == 3  # real and generated pictures, and the latter again for their gradient
    assert all(torch.equal(labels, part.samples.labels) for labels in seen)
