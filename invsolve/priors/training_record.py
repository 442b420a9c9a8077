"""What the training record in a prior's file says of the prior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

PUBLISHED = 80.0  # largest noise level of the published priors (Karras et al. 2022), which have no record of ours
DEVIATIONS = 2.5  # of ln sigma above its mean in a teacher's training: 99.4 % of its noise levels are smaller


def largest_sigma(record: Mapping[str, Any]) -> float:
    """The largest noise level sigma that a prior was trained for. Above it the network extrapolates.

    ``record`` is that of the file's header. Distillation and fine-tuning have a ``sigma_max``; a teacher is trained
    with ln sigma ~ N(sigma_mean, sigma_std²). A training that goes on from another keeps what that one covered.
    """
    recipe = record.get("recipe", {})
    if "sigma_mean" in recipe:
        sigma = math.exp(recipe["sigma_mean"] + DEVIATIONS * recipe["sigma_std"])
    else:
        sigma = float(recipe.get("sigma_max", PUBLISHED))
    return max(sigma, largest_sigma(record["continues"])) if "continues" in record else sigma
