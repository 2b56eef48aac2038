"""How close SGD with rounded weights comes to the minimum of a convex function: upper bounds.

They are of the mean of F over the iterates 1 ... T, in expectation, less the minimum, and therefore
of F at the mean iterate, where

    g       stochastic gradient, E||g||^2 <= G^2, of d components
    delta   spacing of the grid
    alpha_t step size: 1 / (mu (t + 1)) if F is mu-strongly convex, c / sqrt(t) if it is convex
    D       diameter of the domain, onto which the weights are projected

The results are those of arXiv 1706.02379, whose text could not be read: theorem 1 is as recalled,
the constants of 2, 3 and 4 are derived here and differ from those recalled. Rounding adds a floor
that more steps do not lower; that of BinaryConnect with unbiased rounding is 0 on quadratics. With
rounding to the nearest it is not: the weight ends at the threshold next to the minimum.
"""

import math


def rounding_error(learning_rate: float, gradient_norm: float, dimensions: int, delta: float
                   ) -> float:
    """sqrt(d) delta alpha G: of E||Q(v) - v||^2, v = w - alpha g, for w on the grid (lemma 1).

    Exactly it is sum_k |u_k| (delta - |u_k|) for a step u = -alpha g with |u_k| <= delta.
    """
    return math.sqrt(dimensions) * delta * learning_rate * gradient_norm


def strongly_convex(
    num_steps: int, *, gradient_norm: float, strong_convexity: float, dimensions: int, delta: float
) -> float:
    """Stochastic rounding, theorem 1: (1 + log(T + 1)) G^2 / (2 mu T) + sqrt(d) delta G / 2.

    With delta = 0 it is that of SGD.
    """
    return (_sgd(num_steps, gradient_norm, strong_convexity)
            + 0.5 * math.sqrt(dimensions) * delta * gradient_norm)


def convex(num_steps: int, *, gradient_norm: float, scale: float, diameter: float, dimensions: int,
           delta: float) -> float:
    """Stochastic rounding, theorem 2: D^2 / (2 c sqrt(T)) + c G^2 / sqrt(T) + sqrt(d) delta G / 2.

    Args:
      scale: c of the step size.
    """
    return (_sgd_convex(num_steps, gradient_norm, scale, diameter)
            + 0.5 * math.sqrt(dimensions) * delta * gradient_norm)


def binary_connect_convex(
    num_steps: int, *, gradient_norm: float, scale: float, diameter: float, smoothness: float,
    dimensions: int, delta: float,
) -> float:
    """BinaryConnect, theorem 3: as `convex`, with the floor sqrt(d) delta L D / 2.

    It is of the full-precision weights, with either rounding: E||Q(w) - w|| <= sqrt(d) delta / 2.

    Args:
      scale: c of the step size.
      smoothness: L, of the gradient's Lipschitz continuity.
    """
    return (_sgd_convex(num_steps, gradient_norm, scale, diameter)
            + 0.5 * math.sqrt(dimensions) * delta * smoothness * diameter)


def binary_connect_strongly_convex(
    num_steps: int, *, gradient_norm: float, strong_convexity: float, diameter: float,
    hessian_lipschitz: float, dimensions: int, delta: float,
) -> float:
    """BinaryConnect, stochastic rounding, theorem 4: the floor is D L_2 d delta^2 / 8.

    It is of the full-precision weights. The gradient at Q(w) is that at w but for the remainder
    L_2 / 2 E||Q(w) - w||^2 <= L_2 d delta^2 / 8, because rounding is unbiased.

    Args:
      hessian_lipschitz: L_2; 0 for a quadratic (corollary 1).
    """
    return (_sgd(num_steps, gradient_norm, strong_convexity)
            + diameter * hessian_lipschitz * dimensions * delta**2 / 8.0)


def _sgd(num_steps, gradient_norm, strong_convexity):
    return (1.0 + math.log(num_steps + 1)) * gradient_norm**2 / (2.0 * strong_convexity * num_steps)


def _sgd_convex(num_steps, gradient_norm, scale, diameter):
    return (diameter**2 / (2.0 * scale) + scale * gradient_norm**2) / math.sqrt(num_steps)
