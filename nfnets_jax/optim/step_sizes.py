"""The step sizes for which arXiv 1807.06766 proves convergence, with their bounds on the steps.

The theorems are about a function f with an L-Lipschitz gradient, bounded below by f_*. They were
recalled, not read; the docstrings say what was derived again, and what was only derived here. In
all of them

    smoothness        L
    gradient_bound    sigma >= |grad f(x)| for all x; for a sum, of each of its terms
    gap               f(x_1) - f_*
    eps               the gradient norm that is to be reached

Nothing here is a good step size in practice: the bounds hold for every such f.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp


class Guarantee(NamedTuple):
    """What a theorem promises.

    Attributes:
      step_size: alpha; a number, or a function as the theorem's docstring says.
      max_steps: T, such that |grad f(x_t)| <= eps for some t <= T.
    """

    step_size: float | Callable
    max_steps: float


class AdamGuarantee(NamedTuple):
    """What the theorem for ADAM promises, and the numbers for which it does.

    Attributes:
      beta1: decay of the mean gradient.
      xi: outside of the root.
      step_size: `(squared norm of the gradient, t) -> alpha_t`, for `optim.with_step_size` around
        `optim.adam_xi(1.0, ..., bias_terms=False)`.
      max_steps: T, such that |grad f(x_t)| <= eps for some t <= T.
    """

    beta1: float
    xi: float
    step_size: Callable
    max_steps: float


def stochastic_rmsprop(
    *, smoothness: float, gradient_bound: float, gap: float, beta2: float, xi: float, eps: float
) -> Guarantee:
    """RMSProp on a mean of functions, one of them drawn in each step (theorem 1).

    The gradients of all terms must have the same signs, coordinate by coordinate, wherever the
    iterates go. Then min_t E |grad f(x_t)|^2 <= eps^2. (Recalled, derived again.)
    """
    bound = 2 * smoothness * gradient_bound**2 * (gradient_bound**2 + xi) * gap
    max_steps = bound / ((1 - beta2) * xi * eps**4)
    squared = 2 * xi * (1 - beta2) * gap / (gradient_bound**2 * smoothness)
    return Guarantee(math.sqrt(squared / max_steps), max_steps)


def deterministic_rmsprop(
    *, smoothness: float, gradient_bound: float, gap: float, beta2: float, xi: float, eps: float
) -> Guarantee:
    """RMSProp with the full gradient g and xi > 0 (theorem 2).

    f falls in every step, by at least alpha |g|^2 / (2 sqrt(sigma^2 + xi)). (Recalled, derived
    again.)
    """
    scale = gradient_bound**2 + xi
    step_size = (1 - beta2) * xi / (smoothness * math.sqrt(scale))
    max_steps = 2 * smoothness * scale * gap / ((1 - beta2) * xi * eps**2)
    return Guarantee(step_size, max_steps)


def deterministic_rmsprop_without_xi(
    *, smoothness: float, gradient_bound: float, value_range: float, dimension: int, beta2: float,
    eps: float,
) -> Guarantee:
    """RMSProp with the full gradient and xi = 0 (theorem 3).

    The theorem was recalled as T = O(eps^-4) for an f between two bounds. The constants are derived
    here: of sum_t sqrt(t) (f(x_t) - f(x_{t+1})) <= value_range sqrt(T), |V^(-1/2) g|^2 <= dimension
    / (1 - beta2) and <g, V^(-1/2) g> >= |g|^2 / sigma.

    Args:
      smoothness, gradient_bound, beta2, eps: see the module.
      value_range: difference of the bounds of f.
      dimension: of x.

    Returns:
      A guarantee whose step size is a function of t = 1, 2, ..
    """
    alpha = math.sqrt((1 - beta2) * value_range / (smoothness * dimension))
    max_steps = 4 * gradient_bound**2 * smoothness * dimension * value_range / (
        (1 - beta2) * eps**4)
    return Guarantee(lambda t: alpha / jnp.sqrt(t), max_steps)


def smallest_adam_xi(*, gradient_bound: float, beta1: float, eps: float) -> float:
    """The xi above which ADAM with the full gradient has some step size that works (theorem 4).

    Raises:
      ValueError: if beta1 is not below eps / (eps + sigma), where there is none.
    """
    limit = eps / (eps + gradient_bound)
    if beta1 >= limit:
        raise ValueError(f"beta1={beta1:g}: there is no such xi; use less than eps / (eps + "
                         f"gradient_bound) = {limit:g}")
    return gradient_bound**2 * beta1 / (eps * (1 - beta1) - beta1 * gradient_bound)


def deterministic_adam(
    *, smoothness: float, gradient_bound: float, gap: float, eps: float, recalled: bool = False
) -> AdamGuarantee:
    """ADAM with the full gradient, any beta2 in [0, 1) and no bias terms (theorem 4).

    beta1 = eps / (eps + 2 sigma), xi = 2 sigma and a step size in which the bias term of beta1
    comes out of the proof, alpha_t = c |g_t|^2 / (L (1 - beta1^t)^2). The factor of the paper was
    recalled as c = 4 eps / (3 (eps + 2 sigma)^2); the bound that was recalled with it cannot be
    right in its dimensions, and is replaced by one that was derived here. The other factor, c =
    2 / (3 (eps + 2 sigma)), makes the derived decrease of a step largest.

    Args:
      smoothness, gradient_bound, gap, eps: see the module.
      recalled: whether to take the recalled factor.
    """
    scale = eps + 2 * gradient_bound
    beta1 = eps / scale
    if recalled:
        factor = 4 * eps / (3 * scale**2)
        max_steps = 9 * smoothness * scale**4 * gap / (4 * eps**5 * gradient_bound)
    else:
        factor = 2 / (3 * scale)
        max_steps = 18 * smoothness * scale**2 * gap / eps**4

    def step_size(squared_norm, t):
        return factor * squared_norm / (smoothness * (1 - beta1**t) ** 2)

    return AdamGuarantee(beta1, 2 * gradient_bound, step_size, max_steps)
