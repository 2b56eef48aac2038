"""Finite well-mixed populations as birth-death chains, exactly, in float64.

The state is k, the number of those of N who have norm B; in one event k changes by at most 1, up
with probability T+(k) and down with T-(k). Nobody plays with himself. In pairwise comparison a
focal player takes a random other for his teacher and accepts with probability sigma(s Delta),
sigma(x) = 1 / (1 + e^-x), so that T-(k) / T+(k) = exp(-s Delta(k)): what all fixation
probabilities here come from. The formulas are derived; those of pairwise comparison agree with
EGTtools. One generation is N events.
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg, special

from nfnets_jax.games.payoffs import check_share


class BirthDeath(NamedTuple):
    """A chain on k = 0, ..., N.

    Attributes:
      up: T+ [N + 1], whose last entry is 0.
      down: T- [N + 1], whose first entry is 0.
    """

    up: np.ndarray
    down: np.ndarray

    @property
    def size(self) -> int:
        """N."""
        return len(self.up) - 1

    @property
    def log_ratios(self) -> np.ndarray:
        """log T-(k) / T+(k) [N - 1], of k = 1, ..., N - 1."""
        return np.log(self.down[1:-1]) - np.log(self.up[1:-1])


def payoff_differences(matrix: np.ndarray, size: int) -> np.ndarray:
    """Delta(k) [N - 1]: what a player of B earns more than one of A on average, k = 1, ..., N - 1.

    Args:
      matrix: [2, 2], of `payoffs`.
      size: N, at least 2.

    Raises:
      ValueError: if N is too small.
    """
    _check_size(size, 2)
    k = np.arange(1, size)
    of_a = (size - k - 1) * matrix[0][0] + k * matrix[0][1]
    of_b = (size - k) * matrix[1][0] + (k - 1) * matrix[1][1]
    return (of_b - of_a) / (size - 1)


def ring_differences(matrix: np.ndarray, size: int) -> np.ndarray:
    """Delta_k [N - 1] at the border of a block of k players of B on a ring, k = 1, ..., N - 1.

    Payoffs are summed over the two neighbours. A block stays one block, so that its length is a
    birth-death chain, too.

    Args:
      matrix: [2, 2], of `payoffs`.
      size: N, at least 3.

    Raises:
      ValueError: if N is too small.
    """
    _check_size(size, 3)
    (aa, ab), (ba, bb) = matrix
    differences = np.full(size - 1, ba + bb - aa - ab)
    differences[0] += ba - bb  # a lone B has no neighbour of his kind,
    differences[-1] += aa - ab  # nor has a lone A
    return differences


def imitation_chain(
    matrix: np.ndarray, size: int, selection_strength: float, mutation_rate: float = 0.0
) -> BirthDeath:
    """Pairwise comparison with mutation.

    In an event a random player takes the other norm with probability mu, and otherwise imitates:

        T+(k) = (1-mu) (N-k)/N k/(N-1) sigma(s Delta(k)) + mu (N-k)/N

    Args:
      matrix: [2, 2], of `payoffs`.
      size: N, at least 2.
      selection_strength: s.
      mutation_rate: mu, in [0, 1]; always to the other norm.

    Raises:
      ValueError: if N is too small or mu is outside [0, 1].
    """
    check_share(mutation_rate, "mutation_rate")
    up, down = _imitation(matrix, size, selection_strength)
    k = np.arange(size + 1)
    return BirthDeath((1 - mutation_rate) * up + mutation_rate * (size - k) / size,
                      (1 - mutation_rate) * down + mutation_rate * k / size)


def conformity_chain(
    matrix: np.ndarray, size: int, selection_strength: float, k: float, num_models: int
) -> BirthDeath:
    """Conformist transmission mixed with pairwise comparison, without mutation.

    In an event a random player conforms with probability k: he takes the norm of the majority of n
    of the others, drawn without replacement, and keeps his own after a tie. Otherwise he imitates.
    Our reconstruction, after a rule in the first commit of the release of arXiv 1704.04720.

    Args:
      matrix: [2, 2], of `payoffs`.
      size: N, at least 2.
      selection_strength: s.
      k: conformity, in [0, 1].
      num_models: n, from 1 to N - 1.

    Raises:
      ValueError: naming the argument that is not allowed.
    """
    check_share(k, "conformity")
    up, down = _imitation(matrix, size, selection_strength)
    if not 1 <= num_models < size:
        raise ValueError(f"num_models={num_models}: must be between 1 and the {size - 1} others")
    count = np.arange(size + 1)
    majority = _majority(size - 1, num_models)
    return BirthDeath((1 - k) * up + k * (size - count) / size * majority,
                      (1 - k) * down + k * count / size * majority[::-1])


def fixation_probabilities(log_ratios: np.ndarray) -> np.ndarray:
    """The probability that B takes over, from each number of B.

    phi_i = sum_{j<i} E_j / sum_{j<N} E_j, where E_j is the product of T-/T+ up to j.

    Args:
      log_ratios: log T-(k) / T+(k) [N - 1], of k = 1, ..., N - 1: `BirthDeath.log_ratios`, or
        -s Delta of `payoff_differences` and of `ring_differences`.

    Returns:
      phi [N + 1].
    """
    exponents = np.concatenate([[0.0], np.cumsum(log_ratios)])
    sums = np.cumsum(np.exp(exponents - exponents.max()))
    return np.concatenate([[0.0], sums]) / sums[-1]


def log_fixation_ratio(log_ratios: np.ndarray) -> float:
    """log(rho_B / rho_A), of a single B among A and of a single A among B.

    It is s (b-a) [N (1 - c/2) - 1] for `coordination_matrix`, and s (N-1) (1-k) (b-a) for
    `utility_matrix`, where conformity cancels.

    Args:
      log_ratios: as for `fixation_probabilities`.
    """
    return float(-np.sum(log_ratios))


def transition_matrix(chain: BirthDeath) -> np.ndarray:
    """[N + 1, N + 1], from the state of the row to that of the column."""
    stay = 1.0 - chain.up - chain.down
    return np.diag(stay) + np.diag(chain.up[:-1], 1) + np.diag(chain.down[1:], -1)


def hitting_times(chain: BirthDeath) -> np.ndarray:
    """Mean numbers of events from k = 0 until k = 0, ..., N are first reached, [N + 1].

    Raises:
      ValueError: if the chain cannot get there.
    """
    if not np.all(chain.up[:-1] > 0):
        raise ValueError(f"up({np.argmin(chain.up[:-1] > 0)})=0: the chain never gets beyond; "
                         "use mutation_rate > 0")
    times = [0.0]
    for k, (up, down) in enumerate(zip(chain.up[:-1], chain.down[:-1], strict=True)):
        times.append((1.0 + down * times[-1]) / up if k else 1.0 / up)
    return np.concatenate([[0.0], np.cumsum(times[1:])])


def stationary(chain: BirthDeath) -> np.ndarray:
    """The law of k [N + 1] in the long run, from detailed balance.

    Raises:
      ValueError: if there are several such laws.
    """
    if not (np.all(chain.up[:-1] > 0) and np.all(chain.down[1:] > 0)):
        raise ValueError("the chain has states that it never leaves; use mutation_rate > 0")
    logs = np.concatenate([[0.0], np.cumsum(np.log(chain.up[:-1]) - np.log(chain.down[1:]))])
    return special.softmax(logs)


def absorption_times(chain: BirthDeath) -> np.ndarray:
    """Mean numbers of events until one norm is left, from k = 0, ..., N, [N + 1].

    Raises:
      ValueError: if mutation brings back what is lost.
    """
    if chain.up[0] or chain.down[-1]:
        raise ValueError("no norm is ever lost; use mutation_rate = 0")
    up, down = chain.up[1:-1], chain.down[1:-1]
    bands = np.zeros((3, chain.size - 1))
    bands[0, 1:], bands[1], bands[2, :-1] = -up[:-1], up + down, -down[1:]
    inner = linalg.solve_banded((1, 1), bands, np.ones(chain.size - 1))
    return np.concatenate([[0.0], inner, [0.0]])


def _imitation(
    matrix: np.ndarray, size: int, selection_strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """T+ and T- of pairwise comparison alone."""
    k = np.arange(size + 1)
    meetings = (size - k) / size * k / (size - 1)
    logits = np.pad(selection_strength * payoff_differences(matrix, size), 1)
    return meetings * special.expit(logits), meetings * special.expit(-logits)


def _majority(num_others: int, num_models: int) -> np.ndarray:
    """P(most of n draws without replacement are B) [M + 2], from k = 0, ..., M of M others.

    The last entry stands for k = M + 1, which nobody sees.
    """
    left = np.append(np.arange(num_others + 1), num_others)[:, None] - np.arange(num_models + 1)
    law = np.zeros(left.shape)  # of the number of B so far
    law[:, 0] = 1.0
    for drawn in range(num_models):
        hit = law * np.clip(left / (num_others - drawn), 0.0, 1.0)
        law -= hit
        law[:, 1:] += hit[:, :-1]
    return law[:, num_models // 2 + 1:].sum(axis=1)


def _check_size(size: int, smallest: int) -> None:
    if size < smallest:
        raise ValueError(f"size={size}: must be at least {smallest}")
