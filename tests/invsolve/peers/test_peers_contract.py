"""What every peer promises: exact counts, independence of the batch, all tasks, tuned settings."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from peer_cases import OPERATORS, SHAPE, SHORT, gaussian, operator, random, seeded

from invsolve.peers import PEERS, settings_for, tuned_settings
from invsolve.peers.levels import ddpm_levels, ddpm_sigmas
from invsolve.priors.spectrum import dct_frequency
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.dct import cosine_filter
from invsolve.specs.degradations import DEGRADATIONS
from invsolve.specs.task import list_tasks, load_task
from operators import Convolution, Gaussian, LinearOperator, Mask

BATCH = 3


class Counting:
    def __init__(self, denoiser):
        self.denoiser, self.calls = denoiser, 0

    def __call__(self, u, sigma):
        self.calls += 1
        return self.denoiser(u, sigma)


def short(name: str):
    return PEERS[name].settings(**SHORT[name])


def restore(name, y, op, noise, settings=None, denoiser=None, sigma_y=0.1):
    with torch.no_grad():
        return PEERS[name].restore(y, op, denoiser or gaussian(), sigma_y, noise, settings or short(name))


@pytest.mark.parametrize("name", PEERS)
def test_evaluations_are_counted_exactly(name):
    op, counting = operator("blur"), Counting(gaussian())
    variants = [short(name), dataclasses.replace(short(name), steps=1), dataclasses.replace(short(name), steps=9)]
    for settings in variants:
        counting.calls = 0
        restore(
            name, random(1, *op.out_shape, seed=3), op, NoiseStreams(0, [0], dtype=torch.float64), settings, counting
        )
        assert counting.calls == settings.evaluations


def test_the_published_evaluations():
    published = {"dps": 1000, "pigdm": 100, "ddrm": 20, "ddnm": 100, "diffpir": 100, "reddiff": 1000, "daps": 1000}
    published["pnpdm"] = 3673  # 100 iterations, each at rho and at those of the 100 EDM levels that lie below it
    assert {name: PEERS[name].settings().evaluations for name in published} == published


@pytest.mark.parametrize("op_name", OPERATORS)
@pytest.mark.parametrize("name", PEERS)
def test_results_do_not_depend_on_the_batch(name, op_name):
    op = operator(op_name)
    y = random(BATCH, *op.out_shape, seed=4)
    together = restore(name, y, op, NoiseStreams(0, range(BATCH), dtype=torch.float64))
    alone = restore(name, y[1:2], op, NoiseStreams(0, [1], dtype=torch.float64))
    assert together.shape == (BATCH, *SHAPE)
    assert (together[1] - alone[0]).abs().max() < 1e-10
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", PEERS)
def test_an_operator_with_a_mask_for_each_image(name):
    op = Mask(SHAPE, (random(BATCH, 1, *SHAPE[1:], seed=5) > 0).double()).double()
    y = op(random(BATCH, *SHAPE, seed=6))
    together = restore(name, y, op, NoiseStreams(0, range(BATCH), dtype=torch.float64))
    alone = restore(name, y[2:], op.select([2]), NoiseStreams(0, [2], dtype=torch.float64))
    assert (together[2] - alone[0]).abs().max() < 1e-10


SIDE = 64
# What brings each method near the data in this world; 20 steps otherwise.
ENOUGH = {
    "dps": {"steps": 100, "scale": 12.0},
    "reddiff": {"steps": 100},
    "daps": {"steps": 10, "ode_steps": 3, "langevin_steps": 50, "sigma_max": 20.0},
    "pnpdm": {"steps": 8, "decay": 0.4, "grid": 20, "rho_min": 0.1},
    "diffpir": {"steps": 20, "penalty": 1.0, "zeta": 0.5},
}


def is_linear(task_name: str) -> bool:
    """Whether the task measures in a linear way, with white noise."""
    task = load_task(task_name)
    operator = task.make_operator((3, SIDE, SIDE))
    return task.noise(operator) is None and isinstance(operator, LinearOperator)


LINEAR = [name for name in list_tasks() if is_linear(name)]


@pytest.mark.parametrize("task_name", LINEAR)
@pytest.mark.parametrize("name", PEERS)
def test_every_task(name, task_name):
    """Under a stationary Gaussian prior each method nears the measurement, and the truth where it is measured.

    The prior's mean, 0, has the error 1 in both; its colours are independent, so that a grey picture tells little.
    """
    shape = (3, SIDE, SIDE)
    power = (3e-4 + dct_frequency(SIDE, SIDE).float() ** 2) ** -1.5
    power *= 0.25 / power.mean()
    x = cosine_filter(power.sqrt())(torch.randn(1, *shape, generator=seeded(7)))
    task = load_task(task_name)
    op = task.make_operator(shape)
    y = op.measure(x, task.sigma_y, NoiseStreams(0, [(0, -1)]))

    def wiener(u, sigma):
        return cosine_filter(power / (power + sigma**2))(u)

    settings = PEERS[name].settings(**{"steps": 20, **ENOUGH.get(name, {})})
    restored = restore(name, y, op, NoiseStreams(0, [0]), settings, wiener, task.sigma_y)
    assert restored.dtype == torch.float32
    assert (op(restored) - y).norm() < 0.45 * y.norm()
    if task_name != "colorize":
        assert (restored - x).norm() < (0.8 if task_name == "inpaint_box" else 0.65) * x.norm()


@pytest.mark.parametrize("task_name", sorted(set(list_tasks()) - set(LINEAR)))
@pytest.mark.parametrize("name", PEERS)
def test_other_tasks_are_explained_or_refused(name, task_name):
    """What is taken ends nearer to the measurement than the gray image."""
    task = load_task(task_name)
    op = task.make_operator((3, 32, 32))
    smooth = cosine_filter((1e-3 + dct_frequency(32, 32).float() ** 2) ** -1.0)
    x = smooth(torch.randn(1, 3, 32, 32, generator=seeded(7)))
    x = (0.5 * x / x.std()).clamp(-1, 1)
    y = task.measure(op, x, NoiseStreams(0, [(0, -1)]))
    model = task.noise(op) or Gaussian(task.sigma_y)
    if not isinstance(model, PEERS[name].takes):
        with pytest.raises(ValueError, match=r"^the method is for [^\n]* alone, not for [^\n]*$"):
            PEERS[name].check(op, model)
        return
    PEERS[name].check(op, model)
    reach = {"rate": 2e-3, "tau": 0.1} if name == "daps" else {}
    settings = PEERS[name].settings(**{**ENOUGH[name], **reach})
    restored = restore(name, y, op, NoiseStreams(0, [0]), settings, lambda u, sigma: u / (1 + 4 * sigma**2), model)
    assert restored.isfinite().all()
    assert (op(restored) - y).norm() < (op(torch.zeros_like(x)) - y).norm()


def test_an_operator_of_unknown_spectrum():
    op = Convolution(SHAPE, torch.ones(3, 3) / 9).double()
    y = random(1, *SHAPE, seed=8)
    for name in ("ddrm", "ddnm"):
        with pytest.raises(ValueError, match="spectrum of Convolution is not known"):
            restore(name, y, op, NoiseStreams(0, [0], dtype=torch.float64))


def test_ddpm_levels():
    sigmas = ddpm_sigmas()
    remaining = 1.0
    for beta, sigma in zip(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).tolist(), sigmas, strict=True):
        remaining *= 1 - beta
        assert abs(sigma - ((1 - remaining) / remaining) ** 0.5) < 1e-10 * sigma
    assert ddpm_levels(1000) == sigmas[::-1]
    assert ddpm_levels(1) == [sigmas[-1]]
    assert ddpm_levels(3) == [sigmas[999], sigmas[500], sigmas[0]]
    assert ddpm_levels(5, quadratic=True)[1] == sigmas[round(999 / 2)]  # a quarter of the squared way
    limited = ddpm_levels(10, sigma_max=20.0)
    assert limited == sorted(limited, reverse=True)
    assert 19 < limited[0] <= 20
    for arguments, message in [((0,), "steps is 0"), ((1001,), "1 to 1000"), ((3, 0.001), "sigma_max is 0.001")]:
        with pytest.raises(ValueError, match=message):
            ddpm_levels(*arguments)


def test_published_settings_of_a_kind_of_degradation():
    """DiffPIR's lambda is a quarter of the published one, see ``diffpir.py``."""
    found = {kind: settings_for("diffpir", "no such task", kind=kind) for kind in DEGRADATIONS}
    published = {kind: (4 * settings.penalty, settings.zeta) for kind, settings in found.items()}
    assert published.pop("super_resolution") == (7, 0.25)
    assert published.pop("inpaint_box") == published.pop("inpaint_random") == (1, 1)
    assert set(published.values()) == {(7, 0.3)}
    scales = {kind: settings_for("dps", "no such task", kind=kind).scale for kind in DEGRADATIONS}
    assert {kind for kind, scale in scales.items() if scale == 0.5} == {"inpaint_box", "inpaint_random"}
    assert set(scales.values()) == {0.3, 0.5}
    for name, peer in PEERS.items():
        assert set(peer.settings.published) <= set(DEGRADATIONS)
        assert settings_for(name, "no such task", kind="no such kind") == peer.settings()


@pytest.mark.parametrize("task_name", sorted(tuned_settings()["pnpdm"]))
def test_the_number_of_iterations_of_pnpdm_and_daps_scales_their_cost(task_name):
    """At most 20, about 100, about 1000, and for PnP-DM as published; below 0.01 the shipped teacher knows no level."""
    assert settings_for("daps", task_name, 20).evaluations == 20
    assert 10 < settings_for("pnpdm", task_name, 6).evaluations <= 20
    assert 90 <= settings_for("daps", task_name, 25).evaluations <= 110
    assert settings_for("daps", task_name, 200).evaluations == 1000
    assert 80 <= settings_for("pnpdm", task_name, 10).evaluations <= 120
    assert 900 <= settings_for("pnpdm", task_name, 40).evaluations <= 1100
    assert settings_for("pnpdm", task_name, 100) == PEERS["pnpdm"].settings()
    assert all(settings_for("pnpdm", task_name, steps).sigma_min >= 0.01 for steps in (6, 10, 40))


@pytest.mark.parametrize("name", PEERS)
def test_no_level_is_above_the_largest_that_the_denoiser_knows(name):
    class Watching(Counting):
        def __call__(self, u, sigma):
            levels.append(sigma)
            return super().__call__(u, sigma)

    for task_name, largest in (("no such task", 5.0), ("inpaint_box", 5.0), ("no such task", 200.0)):
        levels, op = [], operator("blur")
        settings = settings_for(name, task_name, 3, largest_sigma=largest)
        noise = NoiseStreams(0, [0], dtype=torch.float64)
        restore(name, random(1, *op.out_shape, seed=3), op, noise, settings, Watching(gaussian()))
        assert (1.9 if largest == 5 else 9) < max(levels) <= largest


@pytest.mark.parametrize("name", PEERS)
def test_a_start_at_a_low_level_does_not_say_that_the_image_is_gray(name):
    """Of a prior that leaves colours free, a grayscale picture far from gray has its brightness in what is not seen.

    D(u) = u is that of a flat prior: it takes the start's colours for the image's. RED-diff has no start from noise.
    """
    op, shape = Mask(SHAPE, torch.zeros(*SHAPE[1:]).index_fill(0, torch.tensor([0]), 1)).double(), SHAPE
    y = op(torch.full((1, *shape), 0.9, dtype=torch.float64))
    seen = []

    def denoiser(u, sigma):
        seen.append((u, sigma))
        return u

    settings = dataclasses.replace(short(name), **{PEERS[name].start: 1.0})
    restore(name, y, op, lambda shape: torch.zeros(1, *shape, dtype=torch.float64), settings, denoiser, sigma_y=1e-3)
    if name != "reddiff":
        assert (seen[0][0] - 0.9).abs().max() < 1e-3


@pytest.mark.parametrize(("name", "peer"), PEERS.items())
def test_the_settings_of_a_number_of_steps(name, peer):
    assert settings_for(name, "no such task") == peer.settings()
    assert settings_for(name, "sr4x", 5).steps == 5
    most = peer.max_steps or 5000
    assert settings_for(name, "sr4x", most).steps == most
    for wrong in (0, most + 1)[: 1 if peer.max_steps is None else 2]:
        with pytest.raises(ValueError, match=f"steps of {name} is {wrong} but must be (1 to 1000|at least 1)$"):
            settings_for(name, "sr4x", wrong)


def test_an_unknown_peer():
    with pytest.raises(ValueError, match="no peer named 'dsp'"):
        settings_for("dsp", "sr4x")


def test_settings_are_those_tuned_at_the_nearest_number_of_steps():
    few, many = (dataclasses.replace(settings_for("diffpir", "sr4x", steps), steps=1) for steps in (20, 100))
    assert few != many
    found = {n: dataclasses.replace(settings_for("diffpir", "sr4x", n), steps=1) for n in (5, 20, 44, 45, 100, 500)}
    assert found == {5: few, 20: few, 44: few, 45: many, 100: many, 500: many}  # sqrt(20 * 100) = 44.7


def test_the_tuned_values_are_those_of_the_file():
    for name, tasks in tuned_settings().items():
        for task_name, stages in tasks.items():
            assert task_name in list_tasks()
            for steps, values in stages.items():
                assert settings_for(name, task_name, steps) == PEERS[name].settings(steps=steps, **values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ddrn: {sr4x: {20: {eta: 0.5}}}", "no peer 'ddrn'; did you mean 'ddrm'?"),
        ("ddrm: {sr4x: {20: {etta: 0.5}}}", "ddrm at sr4x: unknown key 'etta'; did you mean 'eta'?"),
        ("ddrm: {sr4x: {20: {eta: much}}}", "ddrm at sr4x: eta is 'much' but must be a number"),
    ],
)
def test_a_tuned_value_that_cannot_be_is_refused(text, message, tmp_path):
    (tmp_path / "tuned.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        tuned_settings(tmp_path / "tuned.yaml")
    assert str(caught.value) == f"{tmp_path}/tuned.yaml: {message}"
