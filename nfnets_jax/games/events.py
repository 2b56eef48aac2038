"""Finite populations as simulations, many replicas at a time.

An asynchronous event concerns one player: what he does depends on all events before, so that only
replicas run side by side. In a well-mixed population the number of B says everything, and an event
is a step of its chain (`chains`); on a ring of players the norms themselves are kept. A synchronous
generation of a well-mixed population is two binomial draws.

The probabilities of an event are compared with 32 random bits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.games.chains import BirthDeath

_LARGEST_WORD = 4294967040.0  # the largest float32 below 2^32


class Stopped(NamedTuple):
    """Replicas that were stopped.

    Attributes:
      counts: int32 [R], the number of B at the end.
      events: int32 [R], after how many events that was, at most `max_events`.
    """

    counts: jax.Array
    events: jax.Array


def well_mixed_until(
    key: jax.Array, chain: BirthDeath, *, initial: int, lower: int, upper: int,
    num_replicas: int, max_events: int,
) -> Stopped:
    """Events until the number of B has come down to `lower` or up to `upper`.

    Fixation is lower = 0 and upper = N; the time until m is first reached is lower = -1, upper = m.

    Args:
      key: of all events.
      chain: of `chains`, for the rule.
      initial: number of B, between the two.
      lower, upper: where a replica stops.
      num_replicas: R.
      max_events: after which all stop.

    Raises:
      ValueError: if the start is not between the two.
    """
    if not lower < initial < upper <= chain.size:
        raise ValueError(f"initial={initial}: must be above lower={lower} and below upper={upper}, "
                         f"which is at most the {chain.size} players")
    counts = jnp.full(num_replicas, initial, jnp.int32)
    return _well_mixed_until(key, *_words(chain), counts, lower, upper, max_events)


def well_mixed_counts(
    key: jax.Array, chain: BirthDeath, *, initial: int, num_replicas: int, num_generations: int
) -> jax.Array:
    """The number of B before the first generation of N events and after each.

    Args:
      key, chain, num_replicas: as for `well_mixed_until`.
      initial: number of B, from 0 to N.
      num_generations: G.

    Returns:
      int32 [G + 1, R].

    Raises:
      ValueError: if there are not as many players.
    """
    counts = jnp.full(num_replicas, _check_count(initial, chain.size), jnp.int32)
    return _well_mixed_counts(key, *_words(chain), counts, jnp.arange(num_generations))


def synchronous_counts(
    seed: int, chain: BirthDeath, *, initial: int, num_replicas: int, num_generations: int
) -> np.ndarray:
    """The number of B in generations in which all players decide at once, by what was before.

    Each player of A changes with probability N T+(k) / (N - k), each of B with N T-(k) / k, and
    independently; drawn on the host.

    Args:
      seed: of NumPy's generator.
      chain: of `chains`, for the rule.
      initial, num_replicas, num_generations: as for `well_mixed_counts`.

    Returns:
      int64 [G + 1, R].

    Raises:
      ValueError: if there are not as many players.
    """
    size, generator = chain.size, np.random.default_rng(seed)
    counts = [np.full(num_replicas, _check_count(initial, size), np.int64)]
    for _ in range(num_generations):
        k = counts[-1]
        gains, losses = (np.minimum(size * rates[k] / np.maximum(players, 1), 1.0)
                         for rates, players in ((chain.up, size - k), (chain.down, k)))
        counts.append(k + generator.binomial(size - k, gains) - generator.binomial(k, losses))
    return np.stack(counts)


@jax.jit
def ring_until_absorbed(
    key: jax.Array, matrix: jax.Array, selection_strength: float, norms: jax.Array,
    max_events: int,
) -> Stopped:
    """Events on a ring until one norm is left: a random player imitates one of two neighbours.

    Payoffs are summed over the neighbours and not normalised; the teacher is accepted with
    probability sigma(s (pi_teacher - pi_focal)). There is no mutation.

    Args:
      key: of all events.
      matrix: [2, 2], of `payoffs`.
      selection_strength: s.
      norms: int8 [R, N], of all players at the start, N >= 3.
      max_events: after which all stop.

    Raises:
      ValueError: if there are fewer than three players.
    """
    num_replicas, size = norms.shape
    if size < 3:
        raise ValueError(f"norms of {size} players: a ring has at least 3")
    matrix = jnp.asarray(matrix, jnp.float32)
    replicas = jnp.arange(num_replicas)

    def is_mixed(counts):
        return (counts > 0) & (counts < size)

    def event(carry):
        step, norms, counts, events = carry
        place, threshold = jax.random.bits(jax.random.fold_in(key, step), (2, num_replicas))
        focal, side = (place // 2 % size).astype(jnp.int32), 1 - 2 * (place % 2).astype(jnp.int32)
        sites = (focal[:, None] + side[:, None] * jnp.arange(-1, 3)) % size
        behind, own, taught, beyond = norms[replicas[:, None], sites].astype(jnp.int32).T
        advantage = (matrix[taught, own] + matrix[taught, beyond]
                     - matrix[own, behind] - matrix[own, taught])
        accepted = threshold < _word(jax.nn.sigmoid(selection_strength * advantage))
        chosen = jnp.where(accepted, taught, own)
        norms = norms.at[replicas, focal].set(chosen.astype(norms.dtype))
        return step + 1, norms, counts + chosen - own, events + is_mixed(counts)

    counts = jnp.sum(norms, axis=1, dtype=jnp.int32)
    start = jnp.int32(0), norms, counts, jnp.zeros_like(counts)
    _, _, counts, events = jax.lax.while_loop(
        lambda carry: (carry[0] < max_events) & jnp.any(is_mixed(carry[2])), event, start)
    return Stopped(counts, events)


@jax.jit
def _well_mixed_until(key, up, down, counts, lower, upper, max_events):
    def is_between(counts):
        return (counts > lower) & (counts < upper)

    def event(carry):
        step, counts, events = carry
        moves = is_between(counts)
        following = _event(jax.random.fold_in(key, step), up, down, counts)
        return step + 1, jnp.where(moves, following, counts), events + moves

    _, counts, events = jax.lax.while_loop(
        lambda carry: (carry[0] < max_events) & jnp.any(is_between(carry[1])), event,
        (jnp.int32(0), counts, jnp.zeros_like(counts)))
    return Stopped(counts, events)


@jax.jit
def _well_mixed_counts(key, up, down, counts, generations):
    def event(counts, key_event):
        return _event(key_event, up, down, counts), None

    def generation(counts, number):
        keys = jax.random.split(jax.random.fold_in(key, number), len(up) - 1)
        counts, _ = jax.lax.scan(event, counts, keys)
        return counts, counts

    _, after = jax.lax.scan(generation, counts, generations)
    return jnp.concatenate([counts[None], after])


def _event(key: jax.Array, up: jax.Array, down: jax.Array, counts: jax.Array) -> jax.Array:
    """One event of each replica; the two thresholds are at either end of the words."""
    words = jax.random.bits(key, counts.shape)
    return counts + (words < up[counts]).astype(jnp.int32) - (~words < down[counts])


def _words(chain: BirthDeath) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of a chain as uint32, in units of 2^-32."""
    return tuple(np.minimum(np.rint(p * 2.0**32), 2**32 - 1).astype(np.uint32) for p in chain)


def _word(probability: jax.Array) -> jax.Array:
    """A traced probability as uint32, in units of 2^-32."""
    return jnp.minimum(probability * 2.0**32, _LARGEST_WORD).astype(jnp.uint32)


def _check_count(count: int, size: int) -> int:
    if not 0 <= count <= size:
        raise ValueError(f"initial={count}: must be between 0 and the {size} players")
    return count
