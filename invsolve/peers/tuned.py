r"""Settings of the peers per task: peer -> task -> steps -> values. What is not named stays at its published default.

Chosen by the lowest LPIPS (AlexNet) with the shipped teacher, on the last two pictures of the FFHQ training folder in
name order (01097 and 01098), which it was not trained on. DDRM, DiffPIR, DDNM+ and Pi-GDM with 20 evaluations by a
search on whole pictures in float32, half a dozen to twenty settings for each task, the start level among them:

    python benchmarks/tune_peers.py --data FFHQ/train --out tuned.jsonl --images 2 --steps 20 \
        --peers ddrm diffpir ddnm pigdm

DDNM+ and DiffPIR with 100 from there on, in bfloat16, two to seven settings for each task (``--steps 100 --precision
bf16``); at sr4x and the deblurring tasks also Pi-GDM's weight of the guidance with 100, two to six, on 01098 alone
(about half of 1: with the whole one it fails at deblur_motion).

DPS, RED-diff, DAPS and PnP-DM with at most 20 evaluations (``dps:20``, ``reddiff:20``, ``daps:20``, ``pnpdm:6``) in the
same way in bfloat16, four to fifteen settings for each task, from the best of two to five starts. It is far below what
they were published with, and mostly best spent at low noise levels; DAPS takes one ODE step at each, to the posterior
mean. DPS was tuned again on the last six, 10 to 18 settings for each task from one to three starts: two pictures had
misled, or the search had been stuck.

DPS, RED-diff, DAPS and PnP-DM with about 100 (``dps:100``, ``reddiff:100``, ``daps:25``, ``pnpdm:10``) on the last
two, too, in bfloat16: DPS with two to six settings for each task, the others with 4 to 14, the start level (PnP-DM's
rho) among them. From 20 the LPIPS of DPS is 0.153 for 0.117 at sr4x, 0.178 for 0.075 at deblur_motion, and it
diverges at inpaint_box; from 10 on a coarser grid that of PnP-DM is 0.040 for 0.011 at denoise. RED-diff and DAPS
began from the best of 4 to 6 settings on the central 128x128 pixels of the last four.

Tuned: eta and eta_b (DDRM), eta (DDNM+), lambda and zeta (DiffPIR), eta and the guidance's weight (Pi-GDM; at 100
steps one of them), zeta' (DPS), lambda and Adam's rate (RED-diff), tau and the Langevin steps' rate (DAPS), rho, its
decay and rho_min (PnP-DM). With fewer steps than published, PnP-DM has a coarser grid and the ODE for a prior step.
DAPS:25 has 4 ODE steps. With 100 evaluations Pi-GDM starts at 20, about the highest noise level that the teacher
knows. From 8 or below its LPIPS on the two pictures rises at denoise, to four times, and at colorize; at
deblur_gaussian it falls by 2 %.

At about 1000 evaluations all start there, DPS but at the deblurring tasks. DPS:1000, RED-diff:1000 and DAPS:200 have
their published values but at sr4x and the deblurring tasks, where zeta', lambda and the rate are the best of the one
to five tried on the central 128x128 pixels of 01098 in bfloat16 (the published rate amplifies noise at
deblur_motion). DPS:1000 was tried from 0.8 to 7.5, too: 3 was the best start at the deblurring tasks, 20 at sr4x.
PnP-DM:40 takes 959 evaluations, its grid ending at the teacher's lowest level, 0.01. It has the ODE for a prior step,
as with 10 iterations: on that grid the SDE leaves noise, PSNR was 24 dB at sr4x. PnP-DM:100 is as published and takes
3673.
"""

from __future__ import annotations

TUNED: dict[str, dict[str, dict[int, dict[str, float | int]]]] = {
    "dps": {
        "colorize": {
            20: {"scale": 24.0, "sigma_max": 3.2},
            100: {"scale": 12.0, "sigma_max": 5.0},
            1000: {"sigma_max": 20.0},
        },
        "deblur_gaussian": {
            20: {"scale": 48.0, "sigma_max": 0.81},
            100: {"scale": 24.0, "sigma_max": 1.26},
            1000: {"scale": 3.0, "sigma_max": 3.0},
        },
        "deblur_motion": {
            20: {"scale": 57.1, "sigma_max": 0.407},
            100: {"scale": 34.0, "sigma_max": 1.25},
            1000: {"scale": 3.0, "sigma_max": 3.0},
        },
        "denoise": {
            20: {"scale": 12.0, "sigma_max": 0.3},
            100: {"scale": 4.0, "sigma_max": 0.75},
            1000: {"sigma_max": 20.0},
        },
        "inpaint_box": {
            20: {"scale": 17.0, "sigma_max": 5.06},
            100: {"scale": 8.0, "sigma_max": 8.0},
            1000: {"sigma_max": 20.0, "scale": 0.5},
        },
        "inpaint_random": {
            20: {"scale": 24.0, "sigma_max": 3.2},
            100: {"scale": 12.0, "sigma_max": 8.0},
            1000: {"sigma_max": 20.0, "scale": 0.5},
        },
        "sr4x": {
            20: {"scale": 33.9, "sigma_max": 5.06},
            100: {"scale": 12.0, "sigma_max": 5.0},
            1000: {"sigma_max": 20.0, "scale": 2.0},
        },
    },
    "pigdm": {
        "colorize": {20: {"eta": 0.7, "weight": 2.0, "sigma_max": 8.0}, 100: {"sigma_max": 20.0}},
        "deblur_gaussian": {20: {"eta": 0.3, "weight": 1.0, "sigma_max": 8.0}, 100: {"sigma_max": 20.0, "weight": 0.5}},
        "deblur_motion": {20: {"eta": 0.0, "weight": 1.4, "sigma_max": 20.0}, 100: {"sigma_max": 20.0, "weight": 0.5}},
        "denoise": {20: {"eta": 1.0, "weight": 1.0, "sigma_max": 0.3}, 100: {"sigma_max": 20.0, "eta": 0.5}},
        "inpaint_box": {20: {"eta": 0.3, "weight": 2.0, "sigma_max": 22.2}, 100: {"sigma_max": 20.0, "eta": 0.5}},
        "inpaint_random": {20: {"eta": 0.0, "weight": 2.0, "sigma_max": 8.0}, 100: {"sigma_max": 20.0, "eta": 0.5}},
        "sr4x": {20: {"eta": 0.0, "weight": 2.0, "sigma_max": 22.2}, 100: {"sigma_max": 20.0, "weight": 0.6}},
    },
    "ddrm": {
        "colorize": {20: {"eta": 0.7, "eta_b": 1.0, "sigma_max": 12.5}},
        "deblur_gaussian": {20: {"eta": 0.0, "eta_b": 1.0, "sigma_max": 12.5}},
        "deblur_motion": {20: {"eta": 0.0, "eta_b": 1.0, "sigma_max": 2.0}},
        "denoise": {20: {"eta": 0.0, "eta_b": 1.0, "sigma_max": 0.3}},
        "inpaint_box": {20: {"eta": 0.95, "eta_b": 1.0, "sigma_max": 22.2}},
        "inpaint_random": {20: {"eta": 1.0, "eta_b": 1.0, "sigma_max": 3.12}},
        "sr4x": {20: {"eta": 0.5, "eta_b": 1.0, "sigma_max": 2.0}},
    },
    "ddnm": {
        "colorize": {20: {"eta": 1.0, "sigma_max": 6.36}, 100: {"eta": 1.0, "sigma_max": 6.36}},
        "deblur_gaussian": {20: {"eta": 0.5, "sigma_max": 3.2}, 100: {"eta": 0.8, "sigma_max": 8.0}},
        "deblur_motion": {20: {"eta": 0.15, "sigma_max": 3.2}, 100: {"eta": 0.7, "sigma_max": 8.0}},
        "denoise": {20: {"eta": 0.0, "sigma_max": 0.3}, 100: {"eta": 0.0, "sigma_max": 0.75}},
        "inpaint_box": {20: {"eta": 0.95, "sigma_max": 22.2}, 100: {"eta": 0.95, "sigma_max": 8.88}},
        "inpaint_random": {20: {"eta": 1.0, "sigma_max": 1.28}, 100: {"eta": 1.0, "sigma_max": 1.28}},
        "sr4x": {20: {"eta": 0.5, "sigma_max": 1.28}, 100: {"eta": 0.5, "sigma_max": 1.28}},
    },
    "diffpir": {
        "colorize": {
            20: {"penalty": 2.5, "zeta": 1.0, "sigma_max": 12.5},
            100: {"penalty": 1.0, "zeta": 1.0, "sigma_max": 12.5},
        },
        "deblur_gaussian": {
            20: {"penalty": 2.5, "zeta": 0.4, "sigma_max": 5.0},
            100: {"penalty": 1.0, "zeta": 0.4, "sigma_max": 12.5},
        },
        "deblur_motion": {
            20: {"penalty": 2.5, "zeta": 0.7, "sigma_max": 3.12},
            100: {"penalty": 2.5, "zeta": 0.7, "sigma_max": 7.8},
        },
        "denoise": {
            20: {"penalty": 2.5, "zeta": 1.0, "sigma_max": 3.12},
            100: {"penalty": 0.8, "zeta": 1.0, "sigma_max": 3.12},
        },
        "inpaint_box": {
            20: {"penalty": 6.25, "zeta": 1.0, "sigma_max": 22.2},
            100: {"penalty": 0.7, "zeta": 1.0, "sigma_max": 22.2},
        },
        "inpaint_random": {
            20: {"penalty": 0.25, "zeta": 1.0, "sigma_max": 0.78},
            100: {"penalty": 0.25, "zeta": 1.0, "sigma_max": 1.95},
        },
        "sr4x": {
            20: {"penalty": 2.5, "zeta": 0.4, "sigma_max": 5.0},
            100: {"penalty": 1.0, "zeta": 0.4, "sigma_max": 12.5},
        },
    },
    "reddiff": {
        "colorize": {
            20: {"weight": 1.5, "rate": 0.2, "sigma_max": 3.0},
            100: {"weight": 1.5, "rate": 0.1, "sigma_max": 20.0},
            1000: {"sigma_max": 20.0},
        },
        "deblur_gaussian": {
            20: {"weight": 0.5, "rate": 0.1, "sigma_max": 0.4},
            100: {"weight": 0.25, "rate": 0.4, "sigma_max": 3.0},
            1000: {"sigma_max": 20.0, "weight": 0.5},
        },
        "deblur_motion": {
            20: {"weight": 0.1, "rate": 0.3, "sigma_max": 3.0},
            100: {"weight": 0.2, "rate": 0.4, "sigma_max": 20.0},
            1000: {"sigma_max": 20.0, "weight": 0.6},
        },
        "denoise": {
            20: {"weight": 0.6, "rate": 0.1, "sigma_max": 1.0},
            100: {"weight": 1.2, "rate": 0.0455, "sigma_max": 2.0},
            1000: {"sigma_max": 20.0},
        },
        "inpaint_box": {
            20: {"weight": 0.3, "rate": 0.2, "sigma_max": 3.0},
            100: {"weight": 2.4, "rate": 0.1, "sigma_max": 3.2},
            1000: {"sigma_max": 20.0},
        },
        "inpaint_random": {
            20: {"weight": 0.2, "rate": 0.1, "sigma_max": 1.0},
            100: {"weight": 0.05, "rate": 0.1, "sigma_max": 1.2},
            1000: {"sigma_max": 20.0},
        },
        "sr4x": {
            20: {"weight": 4.0, "rate": 0.1, "sigma_max": 0.4},
            100: {"weight": 8.0, "rate": 0.2, "sigma_max": 3.0},
            1000: {"sigma_max": 20.0, "weight": 16.0},
        },
    },
    "daps": {
        "colorize": {
            20: {"ode_steps": 1, "sigma_max": 8.0, "rate": 0.0001, "tau": 0.0167},
            25: {"ode_steps": 4, "sigma_max": 8.88, "rate": 0.0001, "tau": 0.0301},
            200: {"sigma_max": 20.0},
        },
        "deblur_gaussian": {
            20: {"ode_steps": 1, "sigma_max": 1.3, "rate": 5e-05, "tau": 0.01},
            25: {"ode_steps": 4, "sigma_max": 0.64, "rate": 5e-05, "tau": 0.01},
            200: {"sigma_max": 20.0},
        },
        "deblur_motion": {
            20: {"ode_steps": 1, "sigma_max": 1.3, "rate": 5e-05, "tau": 0.01},
            25: {"ode_steps": 4, "sigma_max": 4.0, "rate": 5e-05, "tau": 0.01},
            200: {"sigma_max": 20.0, "rate": 5e-05},
        },
        "denoise": {
            20: {"ode_steps": 1, "sigma_max": 0.3, "rate": 0.0001, "tau": 0.03},
            25: {"ode_steps": 4, "sigma_max": 0.3, "rate": 0.0001, "tau": 0.03},
            200: {"sigma_max": 20.0},
        },
        "inpaint_box": {
            20: {"ode_steps": 1, "sigma_max": 22.2, "rate": 0.0001, "tau": 0.03},
            25: {"ode_steps": 4, "sigma_max": 22.2, "rate": 0.0001, "tau": 0.03},
            200: {"sigma_max": 20.0},
        },
        "inpaint_random": {
            20: {"ode_steps": 1, "sigma_max": 3.2, "rate": 0.0001, "tau": 0.03},
            25: {"ode_steps": 4, "sigma_max": 2.0, "rate": 0.0001, "tau": 0.03},
            200: {"sigma_max": 20.0},
        },
        "sr4x": {
            20: {"ode_steps": 1, "sigma_max": 3.2, "rate": 5e-05, "tau": 0.01},
            25: {"ode_steps": 4, "sigma_max": 0.8, "rate": 5e-05, "tau": 0.01},
            200: {"sigma_max": 20.0},
        },
    },
    "pnpdm": {
        "colorize": {
            6: {
                "rho": 5.0,
                "decay": 0.34,
                "rho_min": 0.0625,
                "grid": 5,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            10: {
                "rho": 8.0,
                "decay": 0.42,
                "rho_min": 0.0625,
                "grid": 24,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            40: {"sigma_max": 20.0, "sigma_min": 0.01, "decay": 0.85, "grid": 50, "stochastic": False},
            100: {},
        },
        "deblur_gaussian": {
            6: {
                "rho": 0.8,
                "decay": 0.76,
                "rho_min": 0.253,
                "grid": 6,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            10: {
                "rho": 1.01,
                "decay": 0.86,
                "rho_min": 0.253,
                "grid": 24,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            40: {"sigma_max": 20.0, "sigma_min": 0.01, "decay": 0.85, "grid": 50, "stochastic": False},
            100: {},
        },
        "deblur_motion": {
            6: {
                "rho": 0.5,
                "decay": 0.78,
                "rho_min": 0.16,
                "grid": 6,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            10: {
                "rho": 0.5,
                "decay": 0.86,
                "rho_min": 0.16,
                "grid": 28,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            40: {"sigma_max": 20.0, "sigma_min": 0.01, "decay": 0.85, "grid": 50, "stochastic": False},
            100: {},
        },
        "denoise": {
            6: {
                "rho": 0.075,
                "decay": 0.72,
                "rho_min": 0.04,
                "grid": 14,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            10: {
                "rho": 0.075,
                "decay": 0.86,
                "rho_min": 0.04,
                "grid": 69,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            40: {"sigma_max": 20.0, "sigma_min": 0.01, "decay": 0.85, "grid": 50, "stochastic": False},
            100: {},
        },
        "inpaint_box": {
            6: {
                "rho": 5.0,
                "decay": 0.34,
                "rho_min": 0.0625,
                "grid": 5,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            10: {
                "rho": 20.0,
                "decay": 0.5,
                "rho_min": 0.0495,
                "grid": 20,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            40: {"sigma_max": 20.0, "sigma_min": 0.01, "decay": 0.85, "grid": 50, "stochastic": False},
            100: {},
        },
        "inpaint_random": {
            6: {
                "rho": 1.5,
                "decay": 0.58,
                "rho_min": 0.16,
                "grid": 4,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            10: {
                "rho": 1.5,
                "decay": 0.74,
                "rho_min": 0.1,
                "grid": 24,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            40: {"sigma_max": 20.0, "sigma_min": 0.01, "decay": 0.85, "grid": 50, "stochastic": False},
            100: {},
        },
        "sr4x": {
            6: {
                "rho": 0.8,
                "decay": 0.76,
                "rho_min": 0.32,
                "grid": 6,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            10: {
                "rho": 0.5,
                "decay": 0.92,
                "rho_min": 0.32,
                "grid": 23,
                "sigma_max": 20.0,
                "sigma_min": 0.01,
                "stochastic": False,
            },
            40: {"sigma_max": 20.0, "sigma_min": 0.01, "decay": 0.85, "grid": 50, "stochastic": False},
            100: {},
        },
    },
}
