"""Noise levels of the annealing: pure functions from a few numbers to a decreasing list of sigma."""

from __future__ import annotations

import math


def karras(n: int, sigma_max: float, sigma_min: float, exponent: float) -> list[float]:
    """``n`` noise levels from ``sigma_max`` down to ``sigma_min``, evenly spaced in ``sigma^(1/exponent)``.

        sigma_i = (sigma_max^(1/e) + i / (n - 1) (sigma_min^(1/e) - sigma_max^(1/e)))^e,   i = 0..n-1

    (Karras et al. 2022, eq. 5, where the exponent is called rho.) Exponent 1 is linear; the larger the exponent, the
    more levels are small. A single level is ``sigma_max``: the one evaluation there is starts from the most noise.
    Equal bounds give ``n`` times the same level. Computed from the logarithm of ``sigma_min / sigma_max``, as

        sigma_i = sigma_max (1 + i / (n - 1) ((sigma_min / sigma_max)^(1/e) - 1))^e,

    so that no exponent overflows, and a very large one gives its limit, the geometric sequence.

    Raises:
        ValueError: ``n < 1``, the levels are not ``sigma_max >= sigma_min > 0``, or the exponent is not positive and
            finite.
    """
    if n < 1:
        raise ValueError(f"a schedule has at least 1 level, not {n}")
    if not sigma_max >= sigma_min > 0:
        raise ValueError(f"noise levels go from sigma_max down to sigma_min > 0, not from {sigma_max} to {sigma_min}")
    if not 0 < exponent < math.inf:
        raise ValueError(f"the exponent of a schedule is positive and finite, not {exponent}")
    if n == 1:
        return [float(sigma_max)]
    fall = math.expm1((math.log(sigma_min) - math.log(sigma_max)) / exponent)
    inner = [sigma_max * math.exp(exponent * math.log1p(i / (n - 1) * fall)) for i in range(1, n - 1)]
    return [float(sigma_max), *inner, float(sigma_min)]
