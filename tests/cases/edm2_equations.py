"""EDM2's denoiser and NCVSD's generative denoiser, equation by equation, over the published names of the tensors.

Equation numbers are those of Karras et al. 2024 (arXiv 2312.02696). Deliberately literal and slow, and independent of
the package: the reference that converted networks are compared with.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def normalized(x, dims):  # equation 56 with epsilon
    n = math.prod(x.shape[d] for d in dims)
    norm = x.square().sum(dim=dims, keepdim=True).sqrt()
    return x / (1e-4 + norm / math.sqrt(n))


def weight(w):  # equation 47: each output's weights to norm 1
    dims = tuple(range(1, w.ndim))
    fan_in = math.prod(w.shape[1:])
    return normalized(w.float(), dims) / math.sqrt(fan_in)


def conv(x, w, gain=1.0):
    w = weight(w) * gain
    return x @ w.T if w.ndim == 2 else F.conv2d(x, w, padding=w.shape[-1] // 2)


def silu(x):  # equation 81
    return x / (1 + torch.exp(-x)) / 0.596


def mp_sum(a, b, t):  # equation 88
    return ((1 - t) * a + t * b) / (((1 - t) ** 2 + t**2) ** 0.5)


def mp_cat(a, b):  # equation 103 with t = 1/2
    n_a, n_b = a.shape[1], b.shape[1]
    c = math.sqrt((n_a + n_b) / 0.5)
    return torch.cat([c * 0.5 / math.sqrt(n_a) * a, c * 0.5 / math.sqrt(n_b) * b], dim=1)


def fourier(c_noise, tensors, prefix):  # equation 75
    freqs, phases = tensors[f"{prefix}.freqs"].float(), tensors[f"{prefix}.phases"].float()
    return math.sqrt(2) * torch.cos(torch.outer(c_noise, freqs) + phases)


def embedding(c_noise, labels, tensors, prefix):
    emb = conv(fourier(c_noise, tensors, f"{prefix}.emb_fourier"), tensors[f"{prefix}.emb_noise.weight"])
    if f"{prefix}.emb_label.weight" in tensors:
        w = tensors[f"{prefix}.emb_label.weight"]
        labels = torch.zeros(len(emb), w.shape[1]) if labels is None else labels
        emb = mp_sum(emb, conv(labels * math.sqrt(w.shape[1]), w), 0.5)
    return silu(emb)


def attention(x, tensors, name, head_channels):
    batch, channels, height, width = x.shape
    qkv = conv(x, tensors[f"{name}.attn_qkv.weight"])
    qkv = qkv.reshape(batch, channels // head_channels, head_channels, 3, height * width)
    q, k, v = (normalized(part, (2,)) for part in qkv.unbind(3))  # over the channels of a head
    scores = torch.softmax(torch.einsum("nhcq,nhck->nhqk", q, k) / math.sqrt(head_channels), dim=-1)
    y = torch.einsum("nhqk,nhck->nhcq", scores, v).reshape(x.shape)
    return mp_sum(x, conv(y, tensors[f"{name}.attn_proj.weight"]), 0.3)


def block(x, emb, tensors, name, flavor, head_channels):  # figure 21
    if name.endswith("_down"):
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    if name.endswith("_up"):
        x = x.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
    skip = tensors.get(f"{name}.conv_skip.weight")
    if flavor == "enc":
        x = x if skip is None else conv(x, skip)
        x = normalized(x, (1,))
    y = conv(silu(x), tensors[f"{name}.conv_res0.weight"])
    scale = conv(emb, tensors[f"{name}.emb_linear.weight"], tensors[f"{name}.emb_gain"].float()) + 1
    y = conv(silu(y * scale[:, :, None, None]), tensors[f"{name}.conv_res1.weight"])
    if flavor == "dec" and skip is not None:
        x = conv(x, skip)
    x = mp_sum(x, y, 0.3)
    if f"{name}.attn_qkv.weight" in tensors:
        x = attention(x, tensors, name, head_channels)
    return x.clamp(-256, 256)


def block_names(tensors, prefix):
    """The parts of ``prefix`` in the order in which the file has them, which is that of evaluation."""
    return list(dict.fromkeys(name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)))


def encoder(x, c_noise, labels, tensors, prefix, head_channels):
    emb = embedding(c_noise, labels, tensors, prefix)
    x, features = torch.cat([x, torch.ones_like(x[:, :1])], dim=1), []
    for part in block_names(tensors, f"{prefix}.enc."):
        name = f"{prefix}.enc.{part}"
        x = conv(x, tensors[f"{name}.weight"]) if "conv" in part else block(x, emb, tensors, name, "enc", head_channels)
        features.append(x)
    return features


def decoder(x, skips, c_noise, labels, tensors, prefix, head_channels):
    emb, skips = embedding(c_noise, labels, tensors, prefix), list(skips)
    for part in block_names(tensors, f"{prefix}.dec."):
        x = mp_cat(x, skips.pop()) if "block" in part else x
        x = block(x, emb, tensors, f"{prefix}.dec.{part}", "dec", head_channels)
    return conv(x, tensors[f"{prefix}.out_conv.weight"], tensors[f"{prefix}.out_gain"].float())


def scalings(sigma, sigma_data=0.5):  # Karras et al. 2022, table 1
    s = sigma[:, None, None, None]
    total = s**2 + sigma_data**2
    return sigma_data**2 / total, s * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def denoise(u, sigma, tensors, head_channels, labels=None):
    """D(u; sigma) of a teacher. ``sigma`` [B], ``labels`` one-hot [B, n] or None."""
    c_skip, c_out, c_in, c_noise = scalings(sigma)
    features = encoder(c_in * u, c_noise, labels, tensors, "unet", head_channels)
    return c_skip * u + c_out * decoder(features[-1], features, c_noise, labels, tensors, "unet", head_channels)


def generate(u, sigma, z, tensors, head_channels, gamma=0.414, labels=None):
    """G(u, sigma, z) of an NCVSD generative denoiser: over-noised u through ``enc``, u itself through ``ctrl``."""
    s_over = (1 + gamma) * sigma
    u_over = u + (s_over**2 - sigma**2).sqrt()[:, None, None, None] * z
    _, _, c_in, c_noise = scalings(sigma)
    control = encoder(c_in * u, c_noise, labels, tensors, "ctrl", head_channels)
    c_skip, c_out, c_in, c_noise = scalings(s_over)
    features = encoder(c_in * u_over, c_noise, labels, tensors, "enc", head_channels)
    w = tensors["dec.additional_x_weight"].float().clamp(0, 1)
    x = mp_sum(features[-1], control[-1], w[0])
    w = tensors["dec.additional_skips_weight"].float().clamp(0, 1)
    skips = [mp_sum(a, b, t) for a, b, t in zip(features, control, w, strict=True)]
    return c_skip * u_over + c_out * decoder(x, skips, c_noise, labels, tensors, "dec", head_channels)
