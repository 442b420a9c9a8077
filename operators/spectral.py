"""Functions of A^T A: `f(A^T A) x` for the operators whose spectrum is known.

Methods that treat every singular value of A on its own (DDRM, DDNM+) need no more than this: with the singular value
decomposition A = U S V^T, scaling the coordinates V^T x by `f(s²)` is `V f(S²) V^T x`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from operators.base import Gain, LinearOperator, rounding_floor
from operators.precision import without_autocast


def spectral_filter(operator: LinearOperator, x: Tensor, gain: Gain) -> Tensor:
    """`gain(A^T A) x` for images `x [B, *in_shape]`, as the operator's class defines it (`LinearOperator.spectral`).

    `gain` maps eigenvalues of A^T A (squared singular values, any shape) to factors, element by element. Eigenvalues
    that are lost to rounding, below (100 eps)² of the largest (as in `damped_inverse`), reach it as exactly 0.

    Raises ValueError for an operator whose spectrum is not known: convolutions without a circular boundary,
    compositions, stacks, functions.
    """
    with without_autocast(x.device):
        return operator.spectral(x, lambda power: gain(torch.where(power > rounding_floor(power), power, 0)))
