"""The gradients and losses of the distillation against their formulas, autograd and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from invsolve.networks.layers import normalize_weights
from invsolve.networks.unet import UNet, UNetConfig, conditional_from
from invsolve.priors.denoiser import Denoiser, GenerativeDenoiser
from invsolve.priors.schedule import karras
from invsolve.specs.recipe import DistillConfig
from invsolve.training.discriminator import Discriminator
from invsolve.training.distill import DistillStep
from invsolve.training.edm import edm_loss, edm_weight
from invsolve.training.energy import score_loss
from invsolve.training.ncvsd import (
    Diffused,
    adversarial_gradient,
    diffuse,
    discriminator_loss,
    fake_loss,
    generator_gradient,
    relative,
)
from invsolve.training.samples import Samples
from invsolve.training.trainee import Trainee
from invsolve.training.validation import denoising_psnr

SHAPE, DATA = (3, 8, 8), 0.5


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def teacher(seed: int = 0) -> Denoiser:
    """A tiny float64 denoiser away from its zero start, with normalised weights as training keeps them."""
    torch.manual_seed(seed)
    network = UNet(UNetConfig(widths=(8, 16), blocks=(1, 1), haar=1)).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain") or name.endswith("gain_out"):
                parameter.fill_(0.5)
    normalize_weights(network)
    return Denoiser(network, DATA)


def batch(seed: int = 1) -> tuple[torch.Tensor, Diffused]:
    """Generated images ``x`` and their diffusion, at levels on both sides of s."""
    x, noise, n = (normals(4, *SHAPE, seed=seed + k) for k in range(3))
    s, t = torch.tensor([[0.05, 0.3, 1.0, 4.0], [0.5, 0.3, 0.1, 10.0]], dtype=torch.float64)
    u = x + s[:, None, None, None] * noise
    return x, diffuse(x, t, n, u, s)


def discriminator(conditioning: str = "inputs") -> Discriminator:
    critic = conditional_from(teacher().network, conditioning)
    with torch.no_grad():
        (critic.encoder.cond_gain if conditioning == "inputs" else critic.mix_input.weight).fill_(0.5)
    torch.manual_seed(3)
    return Discriminator(critic, DATA).double()


def test_weight_and_denoising_loss_are_those_of_edm():
    denoiser, x, n = teacher(), normals(3, *SHAPE), normals(3, *SHAPE, seed=1)
    sigma = torch.tensor([0.05, 0.5, 5.0], dtype=torch.float64)
    loss = edm_loss(denoiser, x, sigma, n)
    for i, s in enumerate(sigma.tolist()):
        level = sigma[i : i + 1]
        error = denoiser(x[i : i + 1] + s * n[i : i + 1], s) - x[i : i + 1]
        v = denoiser.network.log_variance(level.log() / 4).item()
        weight = (s**2 + DATA**2) / (s * DATA) ** 2
        assert edm_weight(level, DATA).item() == pytest.approx(weight, rel=1e-12)
        assert loss[i].item() == pytest.approx(weight * math.exp(-v) * error.square().mean().item() + v, rel=1e-12)


def test_denoising_psnr_is_that_of_the_peak_2():
    x = torch.full((2, *SHAPE), 0.25, dtype=torch.float64)
    x[1] = -0.5
    psnr = denoising_psnr(lambda u, sigma: torch.zeros_like(u), x, 0.1, torch.zeros_like(x))
    assert psnr == pytest.approx((20 * math.log10(2 / 0.25) + 20 * math.log10(2 / 0.5)) / 2, rel=1e-6)


def test_the_generator_gradient_is_that_of_the_written_out_loss():
    x, d = batch()
    source, output = teacher(), normals(4, *SHAPE, seed=9)
    x = x.clone().requires_grad_()
    with torch.no_grad():
        goal = x + source(d.u_eff, d.s_eff) - output
    weight = (d.s_eff**2 + DATA**2) / (d.s_eff * DATA) ** 2
    loss = (weight / 2 * (x - goal).square().flatten(1).mean(1)).sum()
    (expected,) = torch.autograd.grad(loss, x)
    gradient = generator_gradient(source, output, d)
    assert expected.abs().max() > 1e-3
    assert (gradient - expected).abs().max() < 1e-12 * expected.abs().max()


def test_at_the_start_the_generator_gradient_is_zero():
    """G and S both start from the teacher: S is then the teacher's own posterior score, exactly."""
    source, (x, d) = teacher(), batch()
    fake = Denoiser(conditional_from(source.network), DATA)
    _, output = fake_loss(fake, x, d)
    assert generator_gradient(source, output, d).abs().max() < 1e-4
    assert generator_gradient(source, output + 0.1, d).abs().max() > 1e-3  # the measure is not idle


def test_at_the_start_the_generator_is_the_teacher_on_an_over_noised_image():
    source, u, z = teacher(), normals(4, *SHAPE), normals(4, *SHAPE, seed=2)
    generator = GenerativeDenoiser(Denoiser(conditional_from(source.network), DATA), gamma=0.414)
    expected = source(u + math.sqrt(1.414**2 - 1) * 0.3 * z, 1.414 * 0.3)
    assert (generator(u, 0.3, z) - expected).abs().max() < 1e-5


def test_the_fake_loss_is_the_denoising_loss_at_the_sufficient_statistic():
    (x, d), fake = batch(), Denoiser(conditional_from(teacher().network), DATA)
    x = x.clone().requires_grad_()
    loss, output = fake_loss(fake, x, d)
    v = fake.network.log_variance(d.s_eff.log() / 4, d.s.log() / 4)
    expected = edm_weight(d.s_eff, DATA) / v.exp() * (output - x).square().flatten(1).mean(1) + v
    assert (loss - expected).abs().max() < 1e-12
    assert (output - fake(d.u_eff, d.s_eff, d.u, d.s)).abs().max() < 1e-14
    loss.sum().backward()
    assert x.grad is None  # the generator is not moved by the fake denoiser's loss
    assert fake.network.conv_out.weight.grad.abs().max() > 0


def test_the_discriminator_loss_is_the_logistic_one():
    critic, (_, real), (_, generated) = discriminator(), batch(1), batch(11)
    up, down = critic(real), critic(generated)
    assert up.shape == (4, 1, 2, 2)
    assert up.abs().max() > 0.1
    expected = [
        -sum(math.log(1 / (1 + math.exp(-v))) for v in up[i].flatten().tolist()) / up[i].numel()
        - sum(math.log(1 - 1 / (1 + math.exp(-v))) for v in down[i].flatten().tolist()) / down[i].numel()
        for i in range(4)
    ]
    assert discriminator_loss(critic, real, generated).tolist() == pytest.approx(expected, rel=1e-10)


def test_an_undecided_discriminator_loses_two_bits():
    critic, (_, real), (_, generated) = discriminator(), batch(1), batch(11)
    with torch.no_grad():
        critic.gain.zero_()
    assert discriminator_loss(critic, real, generated).tolist() == pytest.approx([2 * math.log(2)] * 4)


@pytest.mark.parametrize("conditioning", ["inputs", "encoder"])
def test_the_adversarial_gradient_against_finite_differences(conditioning):
    critic, (x, d), n = discriminator(conditioning), batch(), normals(4, *SHAPE, seed=20)
    gradient = adversarial_gradient(critic, x, d.t, n, d.u, d.s)

    def loss(images: torch.Tensor) -> torch.Tensor:
        """``-log sigmoid`` of the logits of x_t and u, mean over the map, for each image."""
        logits = critic(diffuse(images, d.t, n, d.u, d.s))
        return -nn.functional.logsigmoid(logits).flatten(1).mean(1)

    step = 1e-5
    with torch.no_grad():
        for k in range(12):
            direction = normals(4, *SHAPE, seed=30 + k)
            numeric = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
            exact = (gradient * direction).flatten(1).sum(1)
            assert (numeric - exact).abs().max() < 1e-7 * gradient.norm()
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert not x.requires_grad


def test_the_discriminator_with_two_encoders_learns_to_look_at_the_second():
    """With its mixing weight at zero it sees (u_eff, s_eff) alone, but that weight has a gradient."""
    critic, (_, d) = discriminator("encoder"), batch()
    other = Diffused(d.u_eff, d.s_eff, d.u + 0.5, d.s, d.t)
    assert (critic(d) - critic(other)).abs().max() > 1e-3
    with torch.no_grad():
        critic.mix.weight.zero_()
    assert (critic(d) - critic(other)).abs().max() < 1e-12
    discriminator_loss(critic, d, batch(11)[1]).sum().backward()
    assert critic.mix.weight.grad.abs().max() > 1e-4


def test_another_gradient_gets_its_relative_norm():
    distillation, adversarial = normals(4, *SHAPE), 1e3 * normals(4, *SHAPE, seed=1)
    ratio = relative(distillation, adversarial, 0.3)
    assert (ratio * adversarial).norm().item() == pytest.approx(0.3 * distillation.norm().item(), rel=1e-12)
    assert relative(distillation, torch.zeros_like(adversarial), 0.3).isfinite()
    assert relative(distillation, adversarial, 0.0) == 0


def test_a_discriminator_needs_both_images():
    with pytest.raises(ValueError, match="conditional"):
        Discriminator(teacher().network, DATA)


def test_levels_follow_their_laws():
    """``s`` is uniform in ``s^(1/exponent)`` between its bounds, ``ln t`` normal; independent of each other."""
    config = DistillConfig(sigma_min=0.1, sigma_max=5.0, sigma_exponent=3.0, t_mean=-0.5, t_std=1.2)
    step = distillation(teacher(), config)
    n = 20_000
    s, t = step.sigmas(normals(n, 4))
    position = (s ** (1 / 3) - 0.1 ** (1 / 3)) / (5 ** (1 / 3) - 0.1 ** (1 / 3))
    grid = torch.linspace(0, 1, 21, dtype=torch.float64)
    empirical = torch.searchsorted(position.sort().values, grid) / n
    assert (empirical - grid).abs().max() < 2.0 / math.sqrt(n)  # Kolmogorov-Smirnov at 0.07 %
    standard = (t.log() + 0.5) / 1.2
    assert standard.mean().abs() < 5 / math.sqrt(n)
    assert (standard.var() - 1).abs() < 5 * math.sqrt(2 / n)
    assert torch.stack([position, standard]).corrcoef()[0, 1].abs() < 5 / math.sqrt(n)


def test_levels_on_the_published_grid():
    """Each of the 1000 levels of the Karras schedule, exponent 7 from 80 to 0.002, comes equally often."""
    step = distillation(teacher(), DistillConfig(sigma_min=0.002, sigma_max=80.0, sigma_levels=1000))
    n = 200_000
    s, _ = step.sigmas(normals(n, 4))
    grid = torch.tensor(karras(1000, 80.0, 0.002, 7.0), dtype=torch.float64).flip(0)
    nearest = torch.searchsorted((grid[1:] * grid[:-1]).sqrt(), s)
    assert (s / grid[nearest] - 1).abs().max() < 1e-9
    counts = nearest.bincount(minlength=1000).double()
    chi_squared = ((counts - n / 1000) ** 2 / (n / 1000)).sum()
    assert abs(chi_squared - 999) < 5 * (2 * 999) ** 0.5
    step = distillation(teacher(), DistillConfig(sigma_levels=2))
    s, _ = step.sigmas(torch.full((1, 4), 20.0))  # rounds to a uniform of 1
    assert s.item() == pytest.approx(20.0)


def distillation(source: Denoiser, config: DistillConfig) -> DistillStep:
    generator, fake, critic = (conditional_from(source.network) for _ in range(3))
    critic = Discriminator(critic, DATA).double()
    trainees = {
        "generator": Trainee(generator, config.generator_rate, config.betas, config.ema),
        "fake": Trainee(fake, config.fake_rate, config.betas),
        "discriminator": Trainee(critic, config.discriminator_rate, config.betas),
    }
    student = GenerativeDenoiser(Denoiser(generator, DATA), config.gamma)
    return DistillStep(student, Denoiser(fake, DATA), critic, source, trainees, config)


def samples(seed: int) -> Samples:
    stream = torch.Generator().manual_seed(seed)
    return Samples(
        normals(4, *SHAPE, seed=seed) / 2,
        normals(4, 4, seed=seed + 1),
        lambda shape: torch.randn(4, *shape, generator=stream, dtype=torch.float64),
    )


def test_the_schedule_of_the_trainees():
    """The generator waits for the fake denoiser, the discriminator starts before its gradient is used."""
    config = DistillConfig(
        precision="fp32", fake_first=2, adversarial_weight=0.5, adversarial_from=4, discriminator_first=2, warmup=0
    )
    step = distillation(teacher(), config)
    taken = []
    for number in range(1, 7):
        metrics = step(samples(number), number)
        taken.append(tuple(step.trainees[name].steps for name in ("fake", "generator", "discriminator")))
        assert ("adversarial" in metrics) == (number > 4)
    assert taken == [(1, 0, 0), (2, 0, 0), (3, 1, 1), (4, 2, 2), (5, 3, 3), (6, 4, 4)]


def catching_gradients(step: DistillStep) -> dict[str, torch.Tensor]:
    """Filled with the generator's gradients by its next update, which does nothing else."""
    caught = {}
    step.trainees["generator"].update = lambda _: caught.update(
        {name: p.grad.clone() for name, p in step.generator.denoiser.network.named_parameters() if p.grad is not None}
    )
    return caught


def assert_gradients(step: DistillStep, caught: dict[str, torch.Tensor]) -> None:
    """The generator's gradients are those caught."""
    for name, parameter in step.generator.denoiser.network.named_parameters():
        if name in caught:
            scale = caught[name].abs().max() + 1e-12
            assert (parameter.grad - caught[name]).abs().max() < 1e-8 * scale, name
    assert len(caught) > 20


def test_a_step_moves_the_generator_along_both_gradients():
    """The generator's parameter gradient of a step is that of ``(g x).sum()``, g written out from the pieces."""
    config = DistillConfig(precision="fp32", fake_first=0, adversarial_weight=0.5, discriminator_first=1)
    step = distillation(teacher(), config)
    for number in (1, 2, 3):  # away from the start, where the distillation gradient is zero
        step(samples(number), number)
    caught = catching_gradients(step)
    # The same step by hand: noise in the order u, z, t, adversarial; the discriminator after its own update.
    given = samples(4)
    s, t = step.sigmas(given.normals)
    u = given.x + s[:, None, None, None] * given.noise(SHAPE)
    x = step.generator(u, s, given.noise(SHAPE))
    d = diffuse(x.detach(), t, given.noise(SHAPE), u, s)
    _, fake_output = fake_loss(step.fake, x, d)
    score = generator_gradient(step.teacher, fake_output, d)
    t = (config.t_mean + config.t_std * given.normals[:, 2]).exp()
    n = given.noise(SHAPE)

    step.generator.denoiser.network.zero_grad()
    step(samples(4), 4)
    adversarial = adversarial_gradient(step.discriminator, x, t, n, u, s)
    total = score + 0.5 * score.norm() / adversarial.norm() * adversarial
    step.generator.denoiser.network.zero_grad()
    (total * x).sum().div(4).backward()
    assert_gradients(step, caught)


def test_with_the_energy_score_both_samples_move_the_generator():
    """By ``(g + r e1) x1 + r e2 x2``: e1, e2 the score's gradients, of whose first r gives a norm relative to g."""
    config = DistillConfig(precision="fp32", fake_first=0, energy_weight=0.5, crop=8, patches=(1, 2), scales=(1, 2))
    step = distillation(teacher(), config)
    for number in (1, 2):
        step(samples(number), number)
    caught = catching_gradients(step)
    given = samples(4)
    s, t = step.sigmas(given.normals)
    u = given.x + s[:, None, None, None] * given.noise(SHAPE)
    first = step.generator(u, s, given.noise(SHAPE))
    d = diffuse(first.detach(), t, given.noise(SHAPE), u, s)
    second = step.generator(u, s, given.noise(SHAPE))
    score = generator_gradient(step.teacher, fake_loss(step.fake, first, d)[1], d)
    pair = [each.detach().requires_grad_() for each in (first, second)]
    energy = torch.autograd.grad(score_loss(given.x, *pair, s, DATA, config, 4).sum(), pair)
    ratio = 0.5 * score.norm() / energy[0].norm()

    step.generator.denoiser.network.zero_grad()
    step(samples(4), 4)
    step.generator.denoiser.network.zero_grad()
    (((score + ratio * energy[0]) * first).sum() + (ratio * energy[1] * second).sum()).div(4).backward()
    assert_gradients(step, caught)
