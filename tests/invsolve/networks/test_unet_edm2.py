"""Self-attention, class labels and the published conditioning against their equations written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from invsolve.networks.blocks import DECODER, ENCODER, Attention, Block
from invsolve.networks.layers import MPConv, MPMix, fold, normalize_weights
from invsolve.networks.unet import CONDITIONINGS, UNet, UNetConfig, conditional_from

FULL = UNetConfig(
    widths=(8, 16, 24), blocks=(1, 1, 2), haar=0, attention=(1, 2), head_channels=4, labels=5, wide_up=True
)


def trained(config: UNetConfig = FULL, seed: int = 0) -> UNet:
    """A float64 network away from its start: gains of 0.7, mixing weights between 0 and 1."""
    torch.manual_seed(seed)
    network = UNet(config).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain") or name.endswith("gain_out"):
                parameter.fill_(0.7)
            elif name.startswith("mix"):
                parameter.uniform_(0.1, 0.9)
    return network


def inputs(batch: int = 2, size: int = 8, seed: int = 1) -> tuple[Tensor, ...]:
    """``x``, ``c_noise``, ``condition``, ``c_noise_condition`` and ``labels`` of a call."""
    stream = torch.Generator().manual_seed(seed)
    x, condition = torch.randn(2, batch, 3, size, size, generator=stream, dtype=torch.float64)
    levels = torch.randn(2, batch, generator=stream, dtype=torch.float64) / 2
    return x, levels[0], condition, levels[1], torch.arange(batch) % 5


def rms(x: Tensor, dim: int) -> Tensor:
    """``x`` over its root mean square (equation 56: ``1e-4`` beside the root)."""
    return x / (x.square().mean(dim, keepdim=True).sqrt() + 1e-4)


def matrix(layer: MPConv) -> Tensor:
    """The weights in use, of unit length a row up to the epsilon (equations 47 and 66)."""
    return rms(layer.weight.flatten(1), 1) / math.sqrt(layer.weight[0].numel())


def blend(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Equation 88."""
    return ((1 - t) * a + t * b) / math.sqrt((1 - t) ** 2 + t**2)


def literal_attention(layer: Attention, x: Tensor, heads: int) -> Tensor:
    """One image, one head, one query at a time."""
    batch, channels, height, width = x.shape
    each = channels // heads
    qkv = torch.einsum("oi,bin->bon", matrix(layer.conv_qkv), x.flatten(2))
    mixed = torch.zeros(batch, channels, height * width, dtype=x.dtype)
    for b in range(batch):
        for h in range(heads):
            rows = qkv[b, 3 * each * h : 3 * each * (h + 1)]
            q, k, v = (rms(rows[part::3], 0) for part in range(3))
            for i in range(height * width):
                scores = torch.stack([(q[:, i] * k[:, j]).sum() / math.sqrt(each) for j in range(height * width)])
                weights = scores.exp() / scores.exp().sum()
                mixed[b, each * h : each * (h + 1), i] = v @ weights
    return torch.einsum("oi,bin->bon", matrix(layer.conv_out), mixed).reshape(x.shape)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_attention_is_the_equations_evaluated_literally(memory_format):
    torch.manual_seed(0)
    layer = Attention(12, head_channels=4).double()
    x = torch.randn(2, 12, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    output = layer(x.to(memory_format=memory_format))
    assert (output - literal_attention(layer, x, heads=3)).abs().max() < 1e-12
    assert output.abs().max() > 0.1


@pytest.mark.parametrize("flavor", [ENCODER, DECODER])
def test_attention_joins_its_block_after_the_residual_branch(flavor):
    """The block is its copy without attention, then 0.7 to 0.3 of attention."""
    torch.manual_seed(0)
    block = Block(6, 12, 8, flavor, "", 0.0, head_channels=4).double()
    plain = Block(6, 12, 8, flavor, "", 0.0).double()
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if not k.startswith("attention")})
    stream = torch.Generator().manual_seed(2)
    x = torch.randn(2, 6, 4, 4, generator=stream, dtype=torch.float64)
    emb = torch.randn(2, 8, generator=stream, dtype=torch.float64)
    before = plain(x, emb)
    expected = blend(before, literal_attention(block.attention, before, heads=3), 0.3)
    assert (block(x, emb) - expected).abs().max() < 1e-12


def test_attention_is_where_edm2_has_it():
    """In the blocks of its levels, not in those that resample, and in the first of the two at the decoder's start."""

    def where(config: UNetConfig) -> tuple[str, str]:
        with torch.device("meta"):
            network = UNet(config)
        marks = [["a" if b.attention else (b.resample or "-")[0] for b in blocks] for blocks in halves(network)]
        return "".join(marks[0]), "".join(marks[1])

    def halves(network: UNet):
        return network.encoder.blocks, network.decoder

    four = UNetConfig(widths=(64,) * 4, blocks=(3,) * 4, haar=0)
    assert where(replace(four, attention=(2, 3))) == ("---d---daaadaaa", "a-aaaauaaaau----u----")
    assert where(replace(four, bottom_attention=True)) == ("---d---d---d---", "a-----u----u----u----")
    assert where(four) == ("---d---d---d---", "------u----u----u----")


def test_labels_join_the_noise_in_equal_shares():
    network = trained()
    encoder, (_, c_noise, *_, labels) = network.encoder, inputs(batch=4)
    angle = c_noise[:, None] * encoder.emb_fourier.frequencies + encoder.emb_fourier.phases
    noise = math.sqrt(2) * angle.cos() @ matrix(encoder.emb_noise).T
    classes = math.sqrt(5) * matrix(encoder.emb_label)[:, labels].T
    with_label, without = encoder.embed(c_noise, labels), encoder.embed(c_noise, None)
    assert (with_label - (noise + classes) / math.sqrt(2)).abs().max() < 1e-12
    assert (without - noise / math.sqrt(2)).abs().max() < 1e-12
    mixed = F.one_hot(labels, 5).double()
    mixed[1] = 0
    expected = torch.cat([with_label[:1], without[1:2], with_label[2:]])
    assert (encoder.embed(c_noise, mixed) - expected).abs().max() < 1e-12


def test_a_label_changes_the_output_and_no_label_is_a_row_of_zeros():
    network, (x, c_noise, _, _, labels) = trained(), inputs()
    plain = network(x, c_noise)
    assert (network(x, c_noise, labels=torch.zeros(2, 5)) - plain).abs().max() < 1e-12
    assert (network(x, c_noise, labels=labels) - plain).abs().max() > 0.01


def literal_control(network: UNet, x, c_noise, condition, c_noise_condition, labels) -> Tensor:
    """The published data flow around the network's own blocks."""

    def silu(v: Tensor) -> Tensor:
        return v / (1 + (-v).exp()) / 0.596

    main, _ = network.encoder(x, c_noise, labels=labels)
    control, _ = network.control(condition, c_noise_condition, labels=labels)
    skip_weights = [min(max(t, 0.0), 1.0) for t in network.mix_skips.weight.tolist()]
    skips = [blend(*pair, t) for *pair, t in zip(main, control, skip_weights, strict=True)]
    h = blend(main[-1], control[-1], min(max(network.mix_input.weight.item(), 0.0), 1.0))
    emb = silu(network.embedding.embed(c_noise, labels))
    for i, block in enumerate(network.decoder):
        if i > 1 and not block.resample:
            skip = skips.pop()
            n, m = h.shape[1], skip.shape[1]  # equation 103 with equal shares
            h = torch.cat([h * math.sqrt((n + m) / 2 / n), skip * math.sqrt((n + m) / 2 / m)], 1)
        h = block(h, emb)
    assert not skips
    return 0.7 * F.conv2d(h, matrix(network.conv_out).reshape(network.conv_out.weight.shape), padding=1)


def test_the_control_encoder_is_mixed_into_the_decoder_as_published():
    network, call = trained(replace(FULL, conditioning="encoder")), inputs()
    with torch.no_grad():
        network.mix_skips.weight[:2] = torch.tensor([-0.3, 1.4])  # beyond [0, 1], taken as 0 and 1
    output = network(*call)
    assert (output - literal_control(network, *call)).abs().max() < 1e-12
    x, c_noise, condition, c_noise_condition, labels = call
    for changed in ((x, c_noise, x, c_noise_condition, labels), (x, c_noise, condition, c_noise, labels)):
        assert (network(*changed) - output).abs().max() > 1e-3
    normalize_weights(network)
    assert network.mix_skips.weight[:2].tolist() == [0, 1]
    assert (network(*call) - output).abs().max() < 1e-2  # otherwise unchanged, up to the epsilons


def test_mixing_keeps_unit_variance_and_starts_as_the_first_signal():
    mix = MPMix(2)
    a, b = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(3))
    assert torch.equal(mix([a, b], [b, a])[0], a)
    with torch.no_grad():
        mix.weight.copy_(torch.tensor([0.2, 0.6]))
    assert all(abs(value.var().item() - 1) < 0.03 for value in mix([a, b], [b, a]))


@pytest.mark.parametrize("conditioning", CONDITIONINGS[1:])
@pytest.mark.parametrize("shape", [FULL, UNetConfig(widths=(8, 16), blocks=(1, 2), haar=1)], ids=["full", "small"])
def test_a_conditional_copy_starts_as_the_same_function(conditioning, shape):
    network = trained(shape)
    normalize_weights(network)
    copied, call = conditional_from(network, conditioning), inputs()
    labels = call[4] if shape.labels else None
    assert copied.config == replace(shape, conditioning=conditioning)
    plain = network(call[0], call[1], labels=labels)
    assert plain.abs().max() > 0.1
    assert (copied(*call[:4], labels=labels) - plain).abs().max() < 1e-5
    levels = copied.log_variance(call[1], call[3])
    assert (levels - network.log_variance(call[1])).abs().max() < 1e-5


def test_the_control_is_there_to_be_learned():
    """The mixing weights have a gradient at the start, and once they are positive so has all of the control encoder."""
    copied, call = conditional_from(trained(), "encoder"), inputs()
    copied(*call).square().sum().backward()
    weights = [copied.mix_input.weight, copied.mix_skips.weight]
    assert min(weight.grad.abs().min() for weight in weights) > 0
    copied.zero_grad()
    with torch.no_grad():
        for weight in weights:
            weight.fill_(0.3)
    copied(*call).square().sum().backward()
    without = {name for name, p in copied.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert without == {"logvar_linear.weight"}


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_folding_and_memory_order_change_no_output(conditioning):
    network, call = trained(replace(FULL, conditioning=conditioning)), inputs()
    before = network(*call)
    fold(network)
    assert before.abs().max() > 0.1
    assert (network(*call) - before).abs().max() < 1e-12
    network.to(memory_format=torch.channels_last)
    call = tuple(v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for v in call)
    assert (network(*call) - before).abs().max() < 1e-12


@pytest.mark.slow
def test_the_whole_network_is_one_graph_to_the_compiler():
    network, call = trained(replace(FULL, conditioning="encoder", auxt=True)), inputs()
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        assert (compiled(*call) - network(*call)).abs().max() < 1e-12


def test_activations_have_unit_variance_at_the_start():
    torch.manual_seed(0)
    shape = UNetConfig(widths=(32, 48, 64), blocks=(2, 2, 2), attention=(0, 1, 2), head_channels=16, labels=3)
    network = UNet(replace(shape, conditioning="encoder"))
    torch.nn.init.constant_(network.mix_input.weight, 0.5)
    torch.nn.init.constant_(network.mix_skips.weight, 0.5)
    seen = {}
    for name, module in network.named_modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda _, __, y, name=name: seen.update({name: y.square().mean().item()}))
    x, condition = torch.randn(2, 4, 3, 32, 32)
    network(x, torch.zeros(4), condition, torch.zeros(4), torch.tensor([0, 1, 2, 0]))
    assert len(seen) == 2 * len(network.encoder.blocks) + len(network.decoder)
    # Attention averages values of other pixels, which lessens the variance where they do not agree.
    assert all(0.3 < value < 1.6 for value in seen.values()), seen


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attention": (3,)}, r"attention is \(3,\) but must list levels of 0 to 2"),
        ({"attention": (-1,)}, "levels of 0 to 2"),
        ({"labels": -1}, "out of range"),
        ({"head_channels": 0}, "out of range"),
        (
            {"attention": (0,), "head_channels": 16},
            "width 8 of a level with attention is no multiple of head_channels, 16",
        ),
        ({"bottom_attention": True, "attention": (), "head_channels": 16}, "width 24"),
        ({"conditioning": "both"}, "conditioning is 'both' but must be one of none, inputs, encoder"),
    ],
    ids=str,
)
def test_an_impossible_shape_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(FULL, **wrong)
