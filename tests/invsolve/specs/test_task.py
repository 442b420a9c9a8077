"""Tasks: the shipped ones are what the literature means by them, and a wrong YAML is refused in one clear line."""

from __future__ import annotations

import pytest
import torch
import yaml

from invsolve.runtime.random_streams import NoiseStreams
from invsolve.runtime.shipped import shipped
from invsolve.solver.solve import Settings
from invsolve.specs.task import list_linear_tasks, list_tasks, load_task

SHAPE = (3, 256, 256)
TUNED = ["colorize", "deblur_gaussian", "deblur_motion", "denoise", "inpaint_box", "inpaint_random", "sr4x"]
SHIPPED = sorted([*TUNED, "declip", "dequantize", "jpeg", "phase_retrieval", "poisson"])
VALID = yaml.safe_load(
    """
    name: mine
    description: a test
    operator: {type: super_resolution, factor: 2, filter: cubic}
    sigma_y: 0.1
    settings: [{steps: 1, sigma_max: 3}, {steps: 10, sigma_max: 7, warm_start: true}]
    """
)


def impulse(height: int, width: int, row: int, column: int) -> torch.Tensor:
    x = torch.zeros(1, 3, height, width)
    x[..., row, column] = 1
    return x


def test_shipped_tasks():
    assert list_tasks() == SHIPPED
    for name in SHIPPED:
        task = load_task(name)
        assert task.name == name
        assert task.sigma_y == (0.05 if task.is_white else 0.0)
        for steps in (1, 4, 8, 16, 50, 1000) if name in TUNED else ():
            settings = task.settings(steps)
            assert 0.01 <= settings.sigma_min < settings.sigma_max <= 20  # what the shipped priors know
        operator = task.make_operator((3, 96, 64))
        if len(operator.out_shape) == 3:
            assert task.image_shape(operator.out_shape) == (3, 96, 64)
        assert load_task(shipped("tasks") / f"{name}.yaml") == task


@pytest.mark.parametrize(("name", "kind"), [("poisson", "Poisson"), ("dequantize", "Quantized"), ("jpeg", "Quantized")])
def test_a_task_has_the_noise_that_its_file_says(name, kind):
    task = load_task(name)
    operator = task.make_operator((3, 32, 32))
    assert type(task.noise(operator)).__name__ == kind
    noise = NoiseStreams(0, [0])
    y = task.measure(operator, torch.zeros(1, 3, 32, 32), noise)
    assert torch.equal(y, operator.measure(torch.zeros(1, 3, 32, 32), task.noise(operator), NoiseStreams(0, [0])))


def test_the_noise_of_a_task_can_be_changed():
    assert load_task("poisson", ["noise.gain=5"]).noise_kind.gain == 5
    assert load_task("poisson", ["noise.gain=5"]).stages == ()
    assert load_task("poisson").stages
    with pytest.raises(ValueError, match=r"'noise.levels=5': unknown parameter 'noise.levels'"):
        load_task("poisson", ["noise.levels=5"])


def test_the_linear_tasks_with_white_noise():
    assert list_linear_tasks() == TUNED


def test_sr4x_reduces_as_pillow_does_inside():
    import numpy as np
    from PIL import Image

    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    y = load_task("sr4x").make_operator((3, 64, 96))(x)
    assert y.shape == (1, 3, 16, 24)
    wanted = np.asarray(Image.fromarray(x[0, 0].numpy()).resize((24, 16), Image.Resampling.BICUBIC))
    assert (y[0, 0] - torch.from_numpy(wanted.copy()))[2:-2, 2:-2].abs().max() < 1e-5


def test_inpaint_box_misses_the_centre():
    ones = torch.ones(1, 3, 256, 256)
    observed = load_task("inpaint_box").make_operator(SHAPE)(ones)
    wanted = ones.clone()
    wanted[..., 64:192, 64:192] = 0
    assert torch.equal(observed, wanted)
    small = load_task("inpaint_box").make_operator((3, 40, 60))(torch.ones(1, 3, 40, 60))
    assert small[0, 0].numel() - small[0, 0].sum() == 20 * 30


def test_inpaint_random_misses_70_percent_by_seed():
    task, ones = load_task("inpaint_random"), torch.ones(1, 3, 256, 256)
    first, again, other = (task.make_operator(SHAPE, seed=seed)(ones) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert first[0, 0].sum() == other[0, 0].sum() == round(0.3 * 65536)
    assert torch.equal(first[:, 0], first[:, 2])
    agreement = (first == other).float().mean().item()
    assert abs(agreement - (0.3**2 + 0.7**2)) < 0.02  # two independent masks


def test_deblur_gaussian_is_circular_with_61_taps_of_std_3():
    y = load_task("deblur_gaussian").make_operator((3, 96, 96))(impulse(96, 96, 0, 50))[0, 1]
    offset = torch.arange(-30, 31, dtype=torch.float64)
    taps = torch.exp(-(offset**2) / 18)
    taps /= taps.sum()
    wanted = torch.zeros(96, 96, dtype=torch.float64)
    wanted[(offset.long() % 96)[:, None], (offset.long() + 50)[None]] = torch.outer(taps, taps)
    assert (y - wanted).abs().max() < 1e-6


def test_deblur_motion_has_61_taps_by_seed():
    task = load_task("deblur_motion")
    first, again, other = (
        task.make_operator((3, 128, 128), seed=seed)(impulse(128, 128, 64, 64))[0, 0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.001
    assert abs(first.sum().item() - 1) < 1e-5
    rows, columns = (first > 1e-6).nonzero(as_tuple=True)
    assert max(rows.max() - 64, 64 - rows.min(), columns.max() - 64, 64 - columns.min()) <= 30


def test_boundary_is_a_key_away(tmp_path):
    for name in ("deblur_gaussian", "deblur_motion"):
        text = (shipped("tasks") / f"{name}.yaml").read_text().replace("boundary: circular", "boundary: reflect")
        (tmp_path / "reflect.yaml").write_text(text)
        y = load_task(tmp_path / "reflect.yaml").make_operator((3, 80, 80))(impulse(80, 80, 0, 40))
        assert y[..., 40:, :].abs().max() < 1e-6  # nothing comes round to the other side


def test_a_mask_or_kernel_of_ones_own():
    mask = torch.zeros(6, 8)
    mask[2] = 1
    x = torch.rand(1, 3, 6, 8)
    for name in ("inpaint_box", "inpaint_random"):
        assert torch.equal(load_task(name).make_operator((3, 6, 8), mask=mask)(x), x * mask)
    shift = torch.tensor([[0.0, 0.0, 1.0]])
    for name in ("deblur_gaussian", "deblur_motion"):
        y = load_task(name).make_operator((3, 6, 8), kernel=shift)(x)
        assert (y - x.roll(1, dims=3)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("inpaint_box", {"mask": torch.ones(128, 128)}, "mask is 128x128 but the image is 256x256"),
        ("deblur_gaussian", {"kernel": torch.ones(300, 3)}, "kernel is 300x3 but the image is only 256x256"),
        ("sr4x", {"mask": torch.ones(256, 256)}, "the task sr4x takes no mask"),
        ("inpaint_box", {"kernel": torch.ones(3, 3)}, "the task inpaint_box takes no kernel"),
    ],
)
def test_a_mask_or_kernel_that_does_not_fit(name, given, message):
    with pytest.raises(ValueError, match=message):
        load_task(name).make_operator(SHAPE, **given)


def test_a_motion_kernel_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="kernel is 61x61 but the image is only 40x80"):
        load_task("deblur_motion").make_operator((3, 40, 80))


def test_settings_serve_from_their_steps_on(tmp_path):
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(VALID))
    task = load_task(tmp_path / "t.yaml")
    assert task.settings(1) == task.settings(9) == Settings(sigma_max=3)
    assert task.settings(10) == task.settings(1000) == Settings(sigma_max=7, warm_start=True)
    assert task.settings(4, 0.07) == task.settings(4, 0.149) == Settings(sigma_max=3)
    assert task.settings(4, 0.06) is task.settings(4, 0.16) is task.settings(4, 0.0) is None
    with pytest.raises(ValueError, match="steps is 0"):
        task.settings(0)


def test_settings_may_be_for_another_noise_level(tmp_path):
    content = changed("settings.1", {"steps": 2, "sigma_y": 0.0, "sigma_max": 5})
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(content))
    task = load_task(tmp_path / "t.yaml")
    assert task.settings(4) == Settings(sigma_max=3)
    assert task.settings(4, 0.0) == Settings(sigma_max=5)
    assert task.settings(1, 0.0) is None


def test_a_task_may_do_without_settings(tmp_path):
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(changed("settings", None)))
    assert load_task(tmp_path / "t.yaml").settings(4) is None


def test_settings_are_for_the_task_as_it_is():
    """With another operator or noise level they are not those that were tuned."""
    task = load_task("sr4x", ["sigma_y=0.06", "operator.factor=4"])
    assert task.sigma_y == 0.06
    assert task.settings(4) == load_task("sr4x").settings(4)
    other = load_task("sr4x", ["operator.factor=2"])
    assert other.parameters == {"factor": 2, "filter": "cubic"}
    assert other.settings(4) is None
    assert load_task("sr4x", ["sigma_y=0.5"]).settings(4) is None


def test_scratches_are_like_random_pixels_and_holes_are_not():
    task, mask = load_task("inpaint_random"), torch.ones(40, 40)
    mask[10:14] = 0
    assert task.degradation.resembles(mask)
    mask[10:30, 10:30] = 0
    assert not task.degradation.resembles(mask)
    assert load_task("inpaint_box").degradation.resembles(mask)


def test_a_valid_blur_measures_what_lies_inside():
    task = load_task("deblur_gaussian", ["operator.boundary=valid", "operator.size=9", "operator.std=1"])
    assert task.margins() == ((4, 4), (4, 4))
    assert task.image_shape((3, 20, 30)) == (3, 28, 38)
    assert task.make_operator((3, 28, 38)).out_shape == (3, 20, 30)
    kernel = torch.ones(4, 7) / 28
    assert task.margins(kernel) == ((1, 2), (3, 3))
    assert task.make_operator(task.image_shape((3, 20, 30), kernel), kernel=kernel).out_shape == (3, 20, 30)


def changed(path: str, value: object) -> dict:
    """VALID with one value replaced (or, by None, left out): the path is as in ``settings.0.steps``."""
    content = yaml.safe_load(yaml.safe_dump(VALID))
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    place = content
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sigma", 0.1, r"unknown key 'sigma'; did you mean 'sigma_y'\?"),
        ("sigma_y", -0.05, "sigma_y is -0.05 but must be finite and at least 0 and at most 2"),
        ("sigma_y", float("nan"), "sigma_y is nan but must be finite"),
        ("sigma_y", None, "the key 'sigma_y' is missing"),
        ("noise", {"type": "poisson", "gain": 30}, "its noise is not white, of some level sigma_y: leave that out"),
        ("noise", {"type": "poison", "gain": 30}, r"noise: unknown type 'poison'; did you mean 'poisson'\?"),
        ("name", 3, "name is 3 but must be text"),
        ("operator", "blur", "operator: expected a mapping with the key 'type'"),
        ("operator.type", "super_resolutoin", r"unknown type 'super_resolutoin'; did you mean 'super_resolution'\?"),
        ("operator.type", ["denoise"], "operator: unknown type"),
        ("operator.factr", 4, r"operator: unknown key 'factr'; did you mean 'factor'\?"),
        ("operator.factor", None, "operator: the key 'factor' is missing"),
        ("operator.factor", 0, "operator: factor is 0 but must be at least 1"),
        ("operator.filter", "cubik", "filter is 'cubik' but must be one of cubic, lanczos3, area"),
        ("settings", [], "settings: expected a list"),
        ("settings", {"steps": 1}, "settings: expected a list"),
        ("settings.0", 4, "settings: entry 1: expected a mapping"),
        ("settings.0.steps", 2, "settings: no entry serves from steps 1 on"),
        ("settings.0.steps", 0, "entry 1: steps is 0 but must be at least 1"),
        ("settings.1.sigma_y", -1, "entry 2: sigma_y is -1 but must be"),
        ("settings.1.steps", 1, "entry 2: a second entry for steps 1"),
        ("settings.1.sigmamax", 1, r"entry 2: unknown key 'sigmamax'; did you mean 'sigma_max'\?"),
        ("settings.1.sigma_max", "high", "entry 2: sigma_max is 'high' but must be a number"),
        ("settings.1.sigma_max", -1, "entry 2: sigma_max is -1 but must be"),
        ("settings.1.sigma_min", 9, "entry 2: sigma_min is 9 but must not exceed sigma_max"),
        ("settings.1.few_step", {"output_ema": 1}, "entry 2: few_step: output_ema is 1 but must be"),
    ],
)
def test_a_wrong_yaml_is_refused_in_one_line(tmp_path, path, value, message):
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump(changed(path, value)))
    with pytest.raises(ValueError, match=message) as refusal:
        load_task(file)
    assert str(refusal.value).startswith(f"{file}: ")
    assert "\n" not in str(refusal.value)


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match=r"no task 'sr4'; did you mean 'sr4x'\?"):
        load_task("sr4")
    with pytest.raises(ValueError, match=r"gone\.yaml: No such file"):
        load_task("gone.yaml")
