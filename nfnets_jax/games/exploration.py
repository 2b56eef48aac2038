"""Imitation in which everybody has an exploration rate, which is imitated as well.

An agent's turn, after the release of arXiv 1704.04720: it compares payoffs with a teacher; takes a
uniformly random norm with the probability that is its own rate; draws a new rate with a small
probability; and then, whatever it did, copies the teacher's norm and rate by the Fermi rule.
"""

import jax
import jax.numpy as jnp

from nfnets_jax.games import imitation
from nfnets_jax.games.graphs import Graph

# The rates that an agent can have, of the release.
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_RATE_BIT = 2  # of a state in a pass, from which on it holds the number of the rate


def random_rates(key: jax.Array, num_replicas: int, num_nodes: int) -> jax.Array:
    """int8 [R, N], numbers of rates, uniform; those of replica r as in `random_words`."""
    words = imitation.random_words(key, num_replicas, num_nodes)[0]
    return (imitation.uniform(words) * len(RATES)).astype(jnp.int8).T


def explore(
    key: jax.Array,
    strategies: jax.Array,
    rates: jax.Array,
    graph: Graph,
    payoffs: jax.Array,
    *,
    selection_strength: float,
    redraw_probability: float = 0.05,
    update: str = "random_sequential",
    teacher_payoff: str = "frozen",
    comparison: str = "normalized",
) -> tuple[jax.Array, jax.Array]:
    """One generation.

    Args:
      key: random numbers of replica r are a function of (key, r) alone.
      strategies: int8 [R, N], of R independent populations.
      rates: int8 [R, N], numbers of `RATES`.
      graph: of N agents; isolated ones stay what they are.
      payoffs: float [2, 2], such as `payoffs.coordination_matrix`; traced.
      selection_strength: s; traced.
      redraw_probability: of a new rate; traced.
      update: one of `imitation.UPDATES`.
      teacher_payoff: one of `imitation.TEACHER_PAYOFFS`; a random norm replaces an agent, too, a
        new rate does not.
      comparison: one of `imitation.COMPARISONS`.

    Returns:
      The next strategies and rates.

    Raises:
      ValueError: as `imitation.check_update`.
    """
    imitation.check_update(graph, update, teacher_payoff)
    words = imitation.random_words(key, *strategies.shape, num_pairs=2)
    chance, exploring, redrawing = (imitation.uniform(words[i]) for i in (0, 2, 3))
    numbers = rates.T.astype(jnp.uint8)
    states = strategies.T.astype(jnp.uint8) | numbers << _RATE_BIT
    meeting = imitation.meet(
        graph, states, words[1], payoffs, selection_strength, update, comparison)

    rate = numbers.astype(jnp.float32) * jnp.float32(RATES[1])
    random_norm = imitation.REPLACED | (exploring >= 0.5 * rate).astype(jnp.uint8)
    norms = jnp.where(exploring < rate, random_norm, states & imitation.NORM)
    drawn = jnp.minimum(redrawing / redraw_probability * len(RATES), len(RATES) - 1)
    numbers = jnp.where(redrawing < redraw_probability, drawn.astype(jnp.uint8), numbers)
    alone = norms | numbers << _RATE_BIT

    def rule(accept):
        new = jnp.where(chance < accept, jnp.uint8(imitation.FOLLOW), alone)
        return jnp.where(graph.degrees[:, None] > 0, new, states)

    after = imitation.resolve(
        graph, meeting, states, rule(meeting.accept),
        rule(meeting.accept_replaced) if teacher_payoff == "zero" else None)
    return ((after & imitation.NORM).astype(jnp.int8).T, (after >> _RATE_BIT).astype(jnp.int8).T)
