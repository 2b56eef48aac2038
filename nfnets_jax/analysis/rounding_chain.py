"""SGD with stochastic rounding as a Markov chain on the points of a grid, exactly, in float64.

    w <- Q(w - alpha g(w)),  g(x) = m(x) + noise,  E[Q(v)] = v

Q rounds to one of the two neighbours of v. On a grid of spacing delta, v becomes y with probability
E[hat((v - y) / delta)], hat(t) = max(0, 1 - |t|), a second difference of E[(v - y)_+]; what would
leave the grid stays at its end. As alpha falls the chain only slows down: it moves up at the rate
E[(-g)_+] / delta and down at E[g_+] / delta, in units of alpha, so that its stationary law has a
limit that does not depend on alpha. If |alpha g| <= delta always, in one dimension this is exact.
The claim is that of arXiv 1706.02379 (theorems 5 and 6, recalled); the formulas are derived.

In d dimensions the noise and the rounding of the coordinates are independent. The spacing of the
two points -s, s of binary weights is 2 s.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
from scipy import linalg, optimize, special

from nfnets_jax.analysis import sgd_noise

# Steps after which a chain that has not mixed is taken never to do so.
LONGEST_MIXING = 2**50


class Noise(Protocol):
    """What is added to the gradient; its mean is 0."""

    def positive_part(self, mean: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """E[(mean + scale * noise)_+], elementwise."""


class Gaussian(NamedTuple):
    """N(0, std^2): m Phi(m / s) + s phi(m / s), where s = scale * std."""

    std: float

    def positive_part(self, mean: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """E[(mean + scale * noise)_+], elementwise."""
        s = abs(scale) * self.std
        if s == 0.0:
            return np.maximum(mean, 0.0)
        z = np.asarray(mean, np.float64) / s
        return s * (z * special.ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi))


class Discrete(NamedTuple):
    """`values`, of mean 0, with the given probabilities."""

    values: tuple[float, ...]
    probabilities: tuple[float, ...]

    def positive_part(self, mean: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """E[(mean + scale * noise)_+], elementwise."""
        return sum(p * np.maximum(np.asarray(mean, np.float64) + scale * value, 0.0)
                   for value, p in zip(self.values, self.probabilities, strict=True))


def states(points: np.ndarray, dimensions: int) -> np.ndarray:
    """[n^d, d]: the product of a grid [n] with itself, the last coordinate varies fastest."""
    return np.stack(np.meshgrid(*[points] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)


def transition_matrix(
    points: np.ndarray, gradient: np.ndarray, learning_rate: float, noise: Noise
) -> np.ndarray:
    """Probabilities of one step from each state to each.

    Args:
      points: [n], ascending, at equal distances; n >= 2.
      gradient: m [n], or [n^d, d] at `states(points, d)`.
      learning_rate: alpha.
      noise: of the gradient, the same at all states.

    Returns:
      [n^d, n^d], from the state of the row to that of the column.

    Raises:
      ValueError: if the points are not a grid or the gradient does not fit them.
    """
    points, x, gradient, delta = _check(points, gradient)
    means = x - learning_rate * gradient
    # E[(v - y)_+] for all y and one more at either end.
    lines = np.concatenate([[points[0] - delta], points, [points[-1] + delta]])
    parts = noise.positive_part(means[:, :, None] - lines, learning_rate) / delta
    differences = parts[..., :-1] - parts[..., 1:]  # P(Q(v) >= y), y = points and one beyond
    at_least = differences[..., :-1]
    at_least[..., 0] = 1.0  # what is below the grid is put to its end
    beyond = np.zeros_like(at_least[..., :1])
    kernels = at_least - np.concatenate([at_least[..., 1:], beyond], axis=-1)
    matrix = np.ones((len(x), 1))
    for k in range(x.shape[1]):
        matrix = (matrix[:, :, None] * kernels[:, k, None, :]).reshape(len(x), -1)
    return np.maximum(matrix, 0.0)


def generator(points: np.ndarray, gradient: np.ndarray, noise: Noise) -> np.ndarray:
    """Rates of the chain in units of the learning rate, as that goes to 0.

    Args:
      points, gradient, noise: as for `transition_matrix`.

    Returns:
      [n^d, n^d]; off the diagonal the limit of T / alpha, whose rows sum to 0.
    """
    points, x, gradient, delta = _check(points, gradient)
    count, dimensions = x.shape
    place = np.arange(count)
    rates = np.zeros((count, count))
    for k in range(dimensions):
        stride = len(points) ** (dimensions - 1 - k)
        for sign, end in ((1, points[-1]), (-1, points[0])):
            inside = x[:, k] != end
            rate = noise.positive_part(-sign * gradient[inside, k], -sign) / delta
            rates[place[inside], place[inside] + sign * stride] = rate
    return rates - np.diag(rates.sum(axis=1))


def stationary(matrix: np.ndarray) -> np.ndarray:
    """The law [n] that a chain keeps.

    Args:
      matrix: [n, n], transition probabilities or a generator.

    Raises:
      ValueError: if there are several such laws.
    """
    matrix = np.asarray(matrix, np.float64)
    off = matrix - np.diag(np.diag(matrix))
    rates = off - np.diag(off.sum(axis=1))
    vectors = linalg.null_space(rates.T)
    if vectors.shape[1] != 1:
        raise ValueError(f"the chain has {vectors.shape[1]} stationary laws, one for each part "
                         "that it never leaves; give the gradient noise in both directions")
    return vectors[:, 0] / vectors[:, 0].sum()


def spectral_gap(transition: np.ndarray) -> float:
    """1 - |lambda_2|: the relaxation time is its inverse, in steps."""
    moduli = np.sort(np.abs(linalg.eigvals(transition)))
    return float(1.0 - moduli[-2])


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Half the sum of |p - q| over the last axis."""
    return 0.5 * np.abs(np.subtract(p, q)).sum(axis=-1)


def mixing_time(transition: np.ndarray, eps: float = 0.25) -> int:
    """The smallest number of steps after which every start is within `eps` of the stationary law.

    Distances are in total variation, which is the largest difference of the probabilities of a set.

    Raises:
      ValueError: if 2^50 steps are not enough, as for a periodic chain.
    """
    law = stationary(transition)

    def is_mixed(power):
        return np.max(total_variation(power, law)) <= eps

    powers = [np.asarray(transition, np.float64)]
    while not is_mixed(powers[-1]):
        if 2 ** len(powers) > LONGEST_MIXING:
            raise ValueError(f"the chain is not within eps={eps:g} of its stationary law after "
                             "2^50 steps; it is periodic or almost falls into parts")
        powers.append(powers[-1] @ powers[-1])
    # Distances never grow, so that the largest number of steps that is too few can be added up.
    steps, reached = 0, np.eye(len(transition))
    for k in reversed(range(len(powers))):
        further = reached @ powers[k]
        if not is_mixed(further):
            steps, reached = steps + 2**k, further
    return steps + 1


def rounding_variance(delta: float, curvature: float, noise_std: float) -> float:
    """Stationary variance of stochastic rounding on h/2 (w - w*)^2, for any small learning rate.

    Exactly it is delta E|g| / (2 h) if |alpha g| <= delta; here g = h (w - w*) + noise is taken to
    be Gaussian, so that V = c delta sqrt(V + sigma^2 / h^2) with c = 1 / sqrt(2 pi).
    """
    b = delta**2 / (2.0 * math.pi)
    return 0.5 * (b + math.sqrt(b**2 + 4.0 * b * (noise_std / curvature) ** 2))


def binary_connect_variance(
    learning_rate: float, curvature: float, noise_std: float, delta: float, minimizer: float
) -> float:
    """Stationary variance of the full-precision weight of BinaryConnect with stochastic rounding.

    On h/2 (w - w*)^2 it is that of SGD with noise sigma^2 + h^2 E[delta^2 q (1 - q)], where q is
    the fraction of w / delta, and the law of w is taken to be Gaussian. It goes to 0 with alpha.
    """
    k = np.arange(1, 200)

    def next_variance(variance):
        waves = np.exp(-2.0 * (np.pi * k / delta) ** 2 * variance) * np.cos(
            2.0 * np.pi * k * minimizer / delta)
        spread = delta**2 * (1.0 / 6.0 - np.sum(waves / (np.pi * k) ** 2))
        return sgd_noise.stationary_variance(
            curvature, noise_std**2 + curvature**2 * spread, learning_rate, 0.0, 1)

    largest = sgd_noise.stationary_variance(
        curvature, noise_std**2 + (curvature * delta) ** 2 / 4.0, learning_rate, 0.0, 1)
    return float(optimize.brentq(lambda v: next_variance(v) - v, 0.0, largest + 1e-12))


def _check(points, gradient) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Float64 points [n], states [n^d, d] and gradient [n^d, d], and the spacing."""
    points, gradient = np.asarray(points, np.float64), np.asarray(gradient, np.float64)
    gaps = np.diff(points)
    if points.ndim != 1 or len(points) < 2 or not gaps[0] > 0 or not np.allclose(gaps, gaps[0]):
        raise ValueError("points must be two or more numbers that ascend in equal steps")
    gradient = gradient[:, None] if gradient.ndim == 1 else gradient
    x = states(points, gradient.shape[-1])
    if gradient.shape != x.shape:
        raise ValueError(f"gradient has the shape {gradient.shape}; for {len(points)} points it is "
                         f"[{len(points)}], or [{len(points)}^d, d] in d dimensions")
    return points, x, gradient, float(gaps[0])
