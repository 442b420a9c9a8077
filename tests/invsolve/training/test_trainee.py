"""What an update does: weights of unit mean square after it, and the learning rate of its step."""

from __future__ import annotations

import pytest
import torch
from training_cases import STUDENT, TEACHER, write

from invsolve.networks.layers import MPConv, MPOrthogonal
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.specs.recipe import TrainConfig
from invsolve.training.distill import distill
from invsolve.training.teacher import train
from invsolve.training.trainee import Trainee, rate_at

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = UNetConfig(widths=(8, 16), blocks=(1, 1), haar=1, auxt=True)


def new_trainee(rate: float) -> Trainee:
    torch.manual_seed(0)
    return Trainee(UNet(SHAPE), rate, (0.9, 0.99), (0.1,))


def update(trainee: Trainee, gradient, config: TrainConfig) -> None:
    for parameter in trainee.network.parameters():
        parameter.grad = gradient(parameter)
    trainee.update(config)


def distance_from_normal(network: UNet) -> float:
    """Largest distance of a channel's mean square from 1, and of an orthogonal map from orthogonality."""
    layers = list(network.modules())
    squares = [m.weight.square().flatten(1).mean(1) for m in layers if isinstance(m, MPConv)]
    maps = [m.weight / m.scale for m in layers if isinstance(m, MPOrthogonal)]
    products = [w @ w.t() if len(w) <= w.shape[1] else w.t() @ w for w in maps]
    assert len(squares) > 10
    assert len(maps) == 2
    gaps = [square - 1 for square in squares] + [product - torch.eye(len(product)) for product in products]
    return max(gap.abs().max().item() for gap in gaps)


def test_an_update_moves_the_weights_and_normalises_them():
    trainee = new_trainee(0.05)
    network = trainee.network
    for _ in range(3):
        before = [parameter.detach().clone() for parameter in network.parameters()]
        update(trainee, torch.randn_like, TrainConfig(warmup=0))
        moved = [(p - b).abs().max().item() for p, b in zip(network.parameters(), before, strict=True)]
        assert min(moved) > 1e-3
        assert distance_from_normal(network) < 1e-3  # normalize has an epsilon of 1e-4


def test_every_update_has_the_learning_rate_of_its_step():
    """Adam goes as far as its learning rate where the gradient is always the same; a restart changes nothing."""
    config, trainee, moves = TrainConfig(warmup=3, decay_after=5), new_trainee(0.1), []
    for number in range(1, 13):
        if number == 7:
            state, trainee = trainee.state_dict(), new_trainee(0.1)
            trainee.load_state_dict(state)
        before = trainee.network.gain_out.item()
        update(trainee, torch.ones_like, config)
        moves.append(before - trainee.network.gain_out.item())
    assert moves == pytest.approx([rate_at(step, 0.1, 3, 5) for step in range(1, 13)], rel=1e-3)


def test_the_trainees_of_a_run_have_the_rates_of_its_configuration(teacher, pictures, tmp_path):
    train(write(tmp_path / "t.yaml", TEACHER, images=24), [str(pictures)], tmp_path / "t", "cpu")
    rates = {"generator_rate": 0.01, "fake_rate": 0.02, "discriminator_rate": 0.03, "warmup": 2, "decay_after": 4}
    distill(write(tmp_path / "d.yaml", STUDENT, **rates), teacher, [str(pictures)], tmp_path / "d", "cpu")
    found = {}
    for name in ("t", "d"):
        state = torch.load(tmp_path / name / "state.pt", weights_only=True)
        trainees = {trainee: value for trainee, value in state.items() if trainee not in ("step", "training")}
        found |= {p: (v["steps"], v["optimizer"]["param_groups"][0]["lr"]) for p, v in trainees.items()}
    assert found == {
        "teacher": (3, pytest.approx(0.02 * 3 / 5)),
        "generator": (13, pytest.approx(0.01 * (4 / 13) ** 0.5)),
        "fake": (16, pytest.approx(0.02 * (4 / 16) ** 0.5)),
        "discriminator": (12, pytest.approx(0.03 * (4 / 12) ** 0.5)),
    }
