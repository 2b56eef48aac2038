"""Payoff matrices of two norms: row = one's own norm, column = the partner's, A before B."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def coordination_matrix(a: float, b: float, c: float) -> np.ndarray | jax.Array:
    """[[a, (1-c) a], [(1-c) b, b]]: who meets the other norm loses the share c of his own payoff.

    The game of the release of arXiv 1704.04720: fixed payoffs at c = 0, pure coordination at c = 1.

    Args:
      a, b: payoffs of the norms A and B.
      c: need for coordination, in [0, 1].

    Returns:
      [2, 2] of float64; of JAX where an argument is, and then traced values are not checked.

    Raises:
      ValueError: if c is outside [0, 1] or a payoff is not finite.
    """
    check_payoffs(a, b)
    check_share(c, "need_for_coordination")
    return _matrix([[a, (1 - c) * a], [(1 - c) * b, b]])


def utility_matrix(a: float, b: float, k: float) -> np.ndarray | jax.Array:
    """[[(1-k) a + k, (1-k) a], [(1-k) b, (1-k) b + k]]: to conform is part of the utility.

    Our reconstruction of a tendency to conform, beside that of `chains.conformity_chain`; whether
    arXiv 1804.07406 has either is not known.

    Args:
      a, b: payoffs of the norms A and B.
      k: conformity, in [0, 1].

    Returns:
      [2, 2], as `coordination_matrix`.

    Raises:
      ValueError: if k is outside [0, 1] or a payoff is not finite.
    """
    check_payoffs(a, b)
    check_share(k, "conformity")
    return _matrix([[(1 - k) * a + k, (1 - k) * a], [(1 - k) * b, (1 - k) * b + k]])


def check_share(value: Any, name: str) -> None:
    """Refuses what is not in [0, 1].

    Args:
      value: scalar; one that is traced passes.
      name: that the error calls it by.

    Raises:
      ValueError: naming it, its value and what is allowed.
    """
    if not isinstance(value, jax.core.Tracer) and not 0 <= value <= 1:
        raise ValueError(f"{name}={float(value):g}: must be between 0 and 1")


def check_payoffs(a: Any, b: Any) -> None:
    """Refuses payoffs that are not finite; those that are traced pass.

    Raises:
      ValueError: naming the payoff and its value.
    """
    for name, value in (("a", a), ("b", b)):
        if not isinstance(value, jax.core.Tracer) and not math.isfinite(value):
            raise ValueError(f"{name}={value}: a payoff must be a finite number")


def _matrix(rows: list[list[Any]]) -> np.ndarray | jax.Array:
    if any(isinstance(entry, jax.Array) for row in rows for entry in row):
        return jnp.array(rows)
    return np.array(rows, np.float64)
