"""Infinite populations: the share p of norm B as an ordinary differential equation, in float64.

    replicator                dp/dt = p (1 - p) (alpha + beta p)
    need for coordination     alpha = b - a - c b,                   beta = c (a + b)
    conformity as well        alpha = (1-k) (b - a - c b) - k D,     beta = (1-k) c (a + b) + 2 k D

The first two are those of the release of arXiv 1704.04720, the closed forms are derived. The third,
the conformist transmission of Boyd and Richerson beside the first, is our reconstruction of what
arXiv 1804.07406 may have: its text could not be read. The Fermi rule has tanh(s delta / 2) where
the replicator has b - a, which is `replicator_rates(0, fermi_advantage(s, delta), k=k)`.

What moves a population is a polynomial in p, called its flow: dp/dt, or the change of one
synchronous generation. Its zeros are the fixed points.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial
from scipy import integrate

from nfnets_jax.games.payoffs import check_payoffs, check_share

MUTATIONS = ("other", "uniform")
# Beyond it the coefficients of a majority's polynomial cost more digits than its roots need.
LARGEST_SAMPLE = 15


class Rates(NamedTuple):
    """alpha and beta of dp/dt = p (1 - p) (alpha + beta p)."""

    alpha: float
    beta: float


class FixedPoint(NamedTuple):
    """Where a flow is 0.

    Attributes:
      share: of B.
      eigenvalue: the flow's derivative there; the point is stable if it is negative.
    """

    share: float
    eigenvalue: float

    @property
    def is_stable(self) -> bool:
        return self.eigenvalue < 0


def replicator_rates(
    a: float, b: float, c: float = 0.0, k: float = 0.0, strength: float = 1.0
) -> Rates:
    """alpha and beta of payoff imitation with conformity.

    Args:
      a, b: payoffs of the norms A and B.
      c: need for coordination, in [0, 1].
      k: conformity, in [0, 1]; 0 is payoff imitation alone.
      strength: D of Boyd and Richerson, in (0, 1]; 1 is the majority of three models.

    Raises:
      ValueError: if c, k or D are not in their intervals or a payoff is not finite.
    """
    check_payoffs(a, b)
    check_share(c, "need_for_coordination")
    check_share(k, "conformity")
    _check_strength(strength)
    return Rates((1 - k) * (b - a - c * b) - k * strength,
                 (1 - k) * c * (a + b) + 2 * k * strength)


def fermi_advantage(selection_strength: float, difference: float = 1.0) -> float:
    """tanh(s delta / 2): how much likelier the Fermi rule goes to the better norm than back.

    Args:
      selection_strength: s.
      difference: delta, of the payoffs as the rule sees them; 1 for two fixed payoffs that are
        normalised by their extremes.
    """
    return math.tanh(selection_strength * difference / 2)


def replicator_flow(rates: Rates) -> Polynomial:
    """dp/dt = p (1 - p) (alpha + beta p)."""
    alpha, beta = rates
    return Polynomial([0.0, alpha, beta - alpha, -beta])


def mutator_flow(
    a: float, b: float, c: float, mutation_rate: float, mutation: str = "other"
) -> Polynomial:
    """The replicator with exploration: dp/dt + mu [(1 - p) f_A - p f_B].

    Args:
      a, b, c: as in `replicator_rates`.
      mutation_rate: mu, in [0, 1], of each offspring.
      mutation: whether mutants take the 'other' norm (the release) or a 'uniform' one, which is
        the other at half the rate.

    Raises:
      ValueError: naming the argument that is not allowed.
    """
    check_share(mutation_rate, "mutation_rate")
    if mutation not in MUTATIONS:
        raise ValueError(f"mutation={mutation!r}: must be one of {', '.join(MUTATIONS)}")
    mu = mutation_rate if mutation == "other" else mutation_rate / 2
    p = Polynomial([0.0, 1.0])
    f_a, f_b = a * (1 - c * p), b * (1 - c * (1 - p))
    return replicator_flow(replicator_rates(a, b, c)) + mu * ((1 - p) * f_a - p * f_b)


def majority_flow(num_models: int) -> Polynomial:
    """C_n(p) - p, where C_n is the probability that the majority of n sampled models has B.

    After a tie one keeps one's own norm, so that an even n does what n + 1 does:
    C - p = (2p - 1) sum_{j=1}^{m} binom(2j-1, j) (p (1-p))^j, m = floor(n / 2).

    Raises:
      ValueError: if n is not between 1 and `LARGEST_SAMPLE`.
    """
    if not 1 <= num_models <= LARGEST_SAMPLE:
        raise ValueError(f"num_models={num_models}: must be between 1 and {LARGEST_SAMPLE}")
    variance = Polynomial([0.0, 1.0, -1.0])
    terms = sum((math.comb(2 * j - 1, j) * variance**j for j in range(1, num_models // 2 + 1)),
                Polynomial([0.0]))
    return Polynomial([-1.0, 2.0]) * terms


def conformist_flow(k: float, advantage: float, num_models: int) -> Polynomial:
    """(1-k) p (1-p) tau + k (C_n(p) - p): conformity with probability k, else payoff imitation.

    As dp/dt it is the mean field of asynchronous updates; p + flow(p) is the share after one
    synchronous generation.

    Args:
      k: conformity, in [0, 1].
      advantage: tau, that of `fermi_advantage`, or b - a.
      num_models: n, as in `majority_flow`.
    """
    check_share(k, "conformity")
    return (1 - k) * replicator_flow(Rates(advantage, 0.0)) + k * majority_flow(num_models)


def imitation_flow(advantage: float, mutation_rate: float) -> Polynomial:
    """One synchronous generation of fixed payoffs whose mutations come with accepted imitations.

    Mutants take a uniformly random norm, and half of the imitations among equals are accepted, as
    in the release's grid: (1 - mu/2) tau p (1-p) + mu/4 ((1-p)^2 - p^2).
    """
    check_share(mutation_rate, "mutation_rate")
    mutants = mutation_rate / 4 * Polynomial([1.0, -2.0])
    return (1 - mutation_rate / 2) * replicator_flow(Rates(advantage, 0.0)) + mutants


def grid_flow(
    a: float, b: float, c: float, selection_strength: float, mutation_rate: float, k: float = 0.0
) -> Callable[[float], float]:
    """One synchronous generation of a well-mixed population with the rules of the grid.

    Payoffs are normalised by their extremes, models are as many as the grid's 4 neighbours, and
    mutants take a uniformly random norm: after an accepted imitation, and always after conforming.

    Args:
      a, b, c: payoffs and need for coordination, as in `payoffs.coordination_matrix`.
      selection_strength: s.
      mutation_rate: mu.
      k: probability of conforming to the majority of the models, ties keeping the norm.

    Returns:
      p, the share of B, to its change in a generation.
    """
    span = max(a, b) - (1 - c) * min(a, b)
    conforming = Polynomial([0.0, 1.0]) + majority_flow(4)

    def flow(p):
        difference = (b * (1 - c * (1 - p)) - a * (1 - c * p)) / span
        advantage = fermi_advantage(selection_strength, difference)
        conformist = (1 - mutation_rate) * conforming(p) + mutation_rate / 2 - p
        return (1 - k) * imitation_flow(advantage, mutation_rate)(p) + k * conformist

    return flow


def fixed_points(flow: Polynomial) -> list[FixedPoint]:
    """The zeros of a flow in [0, 1], ascending; a double one, within 1e-6, is given once.

    Raises:
      ValueError: if the flow is 0 everywhere.
    """
    if not np.any(flow.coef):
        raise ValueError("the flow is 0: every share is a fixed point; give one norm an advantage")
    roots = flow.trim(1e-15 * np.abs(flow.coef).max()).roots()
    real = np.sort(roots[np.abs(roots.imag) < 1e-7].real)
    shares = np.clip(real[(real > -1e-9) & (real < 1 + 1e-9)], 0.0, 1.0)
    shares = shares[np.diff(shares, prepend=-1.0) > 1e-6]
    return [FixedPoint(float(share), float(flow.deriv()(share))) for share in shares]


def tipping_point(rates: Rates) -> float:
    """p* = -alpha / beta, above which B takes over; only between 0 and 1 is it in the way.

    With beta > 0, at or below 0 any share of B spreads. NaN if beta = 0: there is none.
    """
    return -rates.alpha / rates.beta if rates.beta else math.nan


def fastest_change(rates: Rates) -> float:
    """The share at which dp/dt is largest.

    [(beta - alpha) + sqrt(alpha^2 + alpha beta + beta^2)] / (3 beta), or 1/2 for beta = 0.

    Raises:
      ValueError: unless beta >= 0 and alpha + beta > 0.
    """
    alpha, beta = rates
    if beta < 0 or alpha + beta <= 0:
        raise ValueError(f"alpha={alpha:g}, beta={beta:g}: B must win where it is frequent; use "
                         "beta >= 0 and alpha + beta > 0")
    root = math.sqrt(alpha**2 + alpha * beta + beta**2)
    # The two are equal; each is the one that does not cancel.
    return (root + beta - alpha) / (3 * beta) if beta > alpha else alpha / (root + alpha - beta)


def transit_time(start: float, stop: float, rates: Rates) -> float:
    """The time in which the replicator brings the share of B from one value to another.

    With o = p / (1-p) and gamma = alpha + beta, from start to stop,

        T = g(gamma, o, alpha) - g(alpha, 1/o, gamma),  g(x, y, z) = [ln(z + x y)]/x

    which is that of partial fractions, but goes over into the forms of alpha = 0, of alpha + beta
    = 0 and of beta = 0 without a loss of digits.

    Returns:
      the time, which is infinite if the population does not get there.

    Raises:
      ValueError: if a share is outside [0, 1].
    """
    check_share(start, "start")
    check_share(stop, "stop")
    if start == stop:
        return 0.0
    direction = math.copysign(1.0, stop - start)
    gains = [direction * (rates.alpha + rates.beta * share) for share in (start, stop)]
    if {start, stop} & {0, 1} or min(gains) <= 0:
        return math.inf
    gamma = rates.alpha + rates.beta
    first, last = start / (1 - start), stop / (1 - stop)
    return (_log_quotient(gamma, first, last, rates.alpha)
            - _log_quotient(rates.alpha, 1 / first, 1 / last, gamma))


def critical_conformity(advantage: float, strength: float = 1.0) -> float:
    """k_c = (b-a) / (b-a + D), above which a single innovator is not enough.

    Args:
      advantage: b - a, or tau of the Fermi rule; at least 0.
      strength: D, in (0, 1].

    Raises:
      ValueError: if one of the two is not allowed.
    """
    _check_strength(strength)
    if advantage < 0:
        raise ValueError(f"advantage={advantage:g}: must be at least 0; exchange the norms")
    return advantage / (advantage + strength)


def critical_mutation(a: float, b: float, c: float) -> float:
    """The smallest mu (to the other norm) without a stable state of few B; 0 for c <= 1 - a/b.

    By bisection on the number of real zeros of the replicator-mutator's cubic.

    Raises:
      ValueError: unless 0 < a < b and c is in [0, 1].
    """
    if not 0 < a < b:
        raise ValueError(f"a={a:g}, b={b:g}: B must be the better norm, 0 < a < b")
    if replicator_rates(a, b, c).alpha >= 0:
        return 0.0
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if len(fixed_points(mutator_flow(a, b, c, middle))) == 3:
            low = middle
        else:
            high = middle
    return high


def trajectory(
    flow: Callable[[np.ndarray], np.ndarray], start: float, times: np.ndarray
) -> np.ndarray:
    """The share of B in the course of time.

    In float32 the steps of the release's Euler method vanish before the population has arrived;
    this is an adaptive method of order 8 in float64.

    Args:
      flow: dp/dt as a function of p.
      start: p at time 0.
      times: [n], ascending, from 0 on.

    Returns:
      float64 [n].

    Raises:
      ValueError: if the start is outside [0, 1].
    """
    check_share(start, "start")
    times = np.asarray(times, np.float64)
    solution = integrate.solve_ivp(lambda t, p: flow(p), (0.0, times[-1]), [start], "DOP853",
                                   times, rtol=1e-11, atol=1e-13)
    return solution.y[0]


def iterate(flow: Callable[[np.ndarray], np.ndarray], start: float, num_generations: int
            ) -> np.ndarray:
    """float64 [num_generations + 1]: p <- p + flow(p), one synchronous generation after another."""
    check_share(start, "start")
    shares = [start]
    for _ in range(num_generations):
        shares.append(shares[-1] + flow(shares[-1]))
    return np.array(shares, np.float64)


def _log_quotient(x: float, first: float, last: float, z: float) -> float:
    """ln[(z + x last) / (z + x first)] / x, whose limit at x = 0 is (last - first) / z."""
    if x == 0:
        return (last - first) / z
    excess = x * (last - first) / (z + x * first)
    if abs(excess) < 0.5:
        return math.log1p(excess) / x
    return math.log((z + x * last) / (z + x * first)) / x


def _check_strength(strength: float) -> None:
    if not 0 < strength <= 1:
        raise ValueError(f"strength={strength:g}: must be above 0 and at most 1")
