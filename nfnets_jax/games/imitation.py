"""Imitation by the Fermi rule on a graph: a generation of agents who copy those that earn more.

    payoff       x_i = sum over neighbours of M[s_i, s_j], once per generation
    normalised   x~ = (x - low) / (high - low),  low = d_min min M,  high = d_max max M
    accepted     with probability 1 / (1 + exp(-s (x~_j - x~_i))), for a uniform neighbour j

The rules are those of the release of arXiv 1704.04720; how a pass in random order is made parallel
is ours. Every agent has a random word, and j comes before i if (word_j, j) < (word_i, i). What an
agent does is then a rule that depends on no more than its teacher's new state, which is filled in
again and again until nothing changes: there are no cycles, so what remains is what the sequential
pass gives. The longest chain of teachers has some ten links, whatever the size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p

from nfnets_jax.games import graphs
from nfnets_jax.games.graphs import Graph

# 'random_sequential': one after the other in a random order, and teachers show what they are by
#   then.
# 'synchronous': all at once; teachers show what they were.
# 'checkerboard': colour after colour of an even torus: two with 4 neighbours, four with 8. The
#   last two are other processes than the first, not approximations of it.
UPDATES = ("random_sequential", "synchronous", "checkerboard")
# What a teacher earns who was replaced earlier in the pass: 'frozen', its payoff of this
# generation; 'zero', 0, as in the release, where the new agent has not played yet.
TEACHER_PAYOFFS = ("frozen", "zero")
# 'in_imitation': whoever accepts takes a uniformly random norm instead with probability mu (the
#   release on graphs).
# 'switch': with probability mu the other norm, without looking at anyone (infinite populations,
#   EGTtools).
# 'overridable': with probability mu a uniformly random norm, unless the teacher is then copied (the
#   release where exploration evolves).
MUTATIONS = ("in_imitation", "switch", "overridable")
# 'normalized': as above. 'mean': of mean payoffs, with d_min = d_max = 1. 'raw': of summed payoffs
# as they are.
COMPARISONS = ("normalized", "mean", "raw")

# Bits of a state in a pass, and of a rule, which is the state that an agent will have or FOLLOW.
NORM, REPLACED, FOLLOW = 1, 2, 128


class Meeting(NamedTuple):
    """Who may learn from whom in a pass.

    Attributes:
      teacher: [N, R], from `graphs.choose_neighbor`.
      is_earlier: bool [N, R], whether the teacher updates before.
      accept: float32 [N, R], probability that the teacher is copied.
      accept_replaced: likewise if the teacher has been replaced by then.
    """

    teacher: jax.Array
    is_earlier: jax.Array
    accept: jax.Array
    accept_replaced: jax.Array


def random_words(key: jax.Array, num_replicas: int, num_nodes: int,
                 num_pairs: int = 1) -> list[jax.Array]:
    """Random words of which those of replica r are a function of (key, r) alone.

    Args:
      key: of a generation; threefry, as JAX's keys are by default.
      num_replicas: R.
      num_nodes: N.
      num_pairs: half the number of words of an agent: threefry makes them in pairs, of which
        `jax.random.bits` would keep one.

    Returns:
      2 num_pairs arrays uint32 [N, R]: in a pass agents come before replicas, so that neighbours
      are read in whole rows.
    """
    keys = jax.random.key_data(jax.vmap(lambda r: jax.random.fold_in(key, r))(
        jnp.arange(num_replicas)))
    shape = (num_nodes, num_replicas)
    halves = [jnp.broadcast_to(keys[:, i], shape) for i in range(2)]
    nodes = jax.lax.broadcasted_iota(jnp.uint32, shape, 0)
    return [word for pair in range(num_pairs) for word in threefry2x32_p.bind(
        *halves, jnp.full(shape, pair, jnp.uint32), nodes)]


def random_strategies(key: jax.Array, num_replicas: int, num_nodes: int) -> jax.Array:
    """int8 [R, N], norm A or B with probability 1/2 each; those of r as in `random_words`."""
    return (random_words(key, num_replicas, num_nodes)[0].T & 1).astype(jnp.int8)


def uniform(words: jax.Array) -> jax.Array:
    """float32 in [0, 1), multiples of 2^-24, of the upper bits of uint32 words."""
    return (words >> 8).astype(jnp.int32).astype(jnp.float32) * np.float32(2.0**-24)


def check_update(graph: Graph, update: str, teacher_payoff: str = "frozen") -> None:
    """Refuses combinations that have no meaning.

    Raises:
      ValueError: naming what is wrong and a remedy.
    """
    for name, value, allowed in (("update", update, UPDATES),
                                 ("teacher_payoff", teacher_payoff, TEACHER_PAYOFFS)):
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
    if update == "checkerboard" and (graph.sides is None or any(n % 2 for n in graph.sides)):
        where = ("another graph" if graph.sides is None
                 else f"a torus of {graph.sides[0]} x {graph.sides[1]}")
        raise ValueError(f"update='checkerboard': needs a torus with even sides, not {where}; "
                         "use even sides or update='random_sequential'")
    if update == "synchronous" and teacher_payoff == "zero":
        raise ValueError("teacher_payoff='zero': nobody is replaced before a synchronous update; "
                         "use 'frozen' or update='random_sequential'")


def imitate(
    key: jax.Array,
    strategies: jax.Array,
    graph: Graph,
    payoffs: jax.Array,
    *,
    selection_strength: float,
    mutation_rate: float,
    update: str = "random_sequential",
    teacher_payoff: str = "frozen",
    mutation: str = "in_imitation",
    comparison: str = "normalized",
) -> jax.Array:
    """One generation: every agent plays with all its neighbours, then may learn from one.

    Args:
      key: random numbers of replica r are a function of (key, r) alone.
      strategies: int8 [R, N], of R independent populations.
      graph: of N agents; isolated ones keep their norm.
      payoffs: float [2, 2], M, such as `payoffs.coordination_matrix`; traced.
      selection_strength: s; traced.
      mutation_rate: mu; traced.
      update: one of `UPDATES`.
      teacher_payoff: one of `TEACHER_PAYOFFS`.
      mutation: one of `MUTATIONS`.
      comparison: of payoffs, one of `COMPARISONS`.

    Returns:
      int8 [R, N].

    Raises:
      ValueError: as `check_update`.
    """
    check_update(graph, update, teacher_payoff)
    decision, order = random_words(key, *strategies.shape)
    states = strategies.T.astype(jnp.uint8)
    meeting = meet(graph, states, order, payoffs, selection_strength, update, comparison)
    chance = uniform(decision)
    can_learn = True if graph.degrees.min() else graph.degrees[:, None] > 0

    def rule(accept):
        # The chances of norm A by mutation, of norm B by mutation, and of copying, one after the
        # other in the order of `mutation`.
        if mutation == "in_imitation":
            first = accept * mutation_rate
            copies = (chance >= first) & (chance < accept)
        elif mutation == "switch":
            first = jnp.float32(mutation_rate)
            copies = (chance >= first) & (chance < first + (1.0 - first) * accept)
        else:
            copies = chance < accept
            first = accept + (1.0 - accept) * mutation_rate
        lower = accept if mutation == "overridable" else 0.0
        mutates = (chance >= lower) & (chance < first)
        other = 1 - states if mutation == "switch" else (
            chance >= 0.5 * (lower + first)).astype(jnp.uint8)
        new = jnp.where(copies, jnp.uint8(FOLLOW),
                        jnp.where(mutates, REPLACED | other, states))
        return jnp.where(can_learn, new, states)

    rules = rule(meeting.accept)
    if teacher_payoff == "zero":
        after = resolve(graph, meeting, states, rules, rule(meeting.accept_replaced))
    else:
        after = resolve(graph, meeting, states, rules)
    return (after & NORM).astype(jnp.int8).T


def meet(graph: Graph, states: jax.Array, words: jax.Array, payoffs: jax.Array,
         selection_strength: float, update: str, comparison: str = "normalized") -> Meeting:
    """Plays the games of a generation and draws teachers and the order.

    Args:
      graph: of N agents.
      states: uint8 [N, R], whose bit `NORM` is played.
      words: uint32 [N, R]; their order is that of the pass, their lower 16 bits choose teachers.
        The order depends on the choice only where the upper 16 bits of two words are the same.
      payoffs: [2, 2].
      selection_strength: s.
      update: one of `UPDATES`.
      comparison: one of `COMPARISONS`.
    """
    teacher = graphs.choose_neighbor(graph, words)
    norms = states & NORM
    matrix = jnp.asarray(payoffs, jnp.float32)
    degrees = jnp.asarray(graph.degrees[:, None], jnp.float32)
    if graph.is_regular:
        degrees = np.float32(graph.neighbors.shape[1])
    with_b = graphs.count_neighbors(graph, norms).astype(jnp.float32)
    own = norms == NORM
    payoff = jnp.where(own, matrix[1, 0], matrix[0, 0]) * (degrees - with_b) + jnp.where(
        own, matrix[1, 1], matrix[0, 1]) * with_b
    if comparison == "mean":
        payoff /= jnp.maximum(degrees, 1)
    span = jnp.float32(1.0)
    if comparison != "raw":
        some = graph.degrees[graph.degrees > 0]
        least, most = (1, 1) if comparison == "mean" else (some.min(), some.max())
        span = most * jnp.max(matrix) - least * jnp.min(matrix)
        span = jnp.where(span > 0, span, 1.0)  # 0 if all payoffs are the same
    payoff = _kept(selection_strength * (payoff / span))

    def accept(of_teacher):
        return jax.nn.sigmoid(of_teacher - payoff)

    return Meeting(teacher, is_earlier(graph, words, teacher, update),
                   accept(graphs.read_chosen(graph, payoff, teacher)), accept(0.0))


def is_earlier(graph: Graph, words: jax.Array, chosen: jax.Array, update: str) -> jax.Array:
    """Whether a chosen neighbour updates before the agent itself: bool [N, R]."""
    if update == "synchronous":
        return jnp.zeros(words.shape, bool)
    return comes_before(lambda x: graphs.read_chosen(graph, x, chosen),
                        order_of(graph, words, update))


def order_of(graph: Graph, words: jax.Array, update: str) -> jax.Array:
    """What is compared to say who updates first: uint32 [N, R]; not for synchronous updates."""
    if update == "random_sequential":
        return words
    height, width = graph.sides
    rows, columns = np.arange(height)[:, None], np.arange(width)
    colours = ((rows + columns) % 2 if graph.neighbors.shape[1] == 4
               else 2 * (rows % 2) + columns % 2)
    return jnp.broadcast_to(jnp.asarray(colours.reshape(-1), jnp.uint32)[:, None], words.shape)


def comes_before(read, order: jax.Array) -> jax.Array:
    """Whether the neighbours that `read` reads update before: (order_j, j) < (order_i, i)."""
    nodes = jnp.arange(len(order), dtype=jnp.int32)[:, None]
    of_other = read(order)
    return (of_other < order) | ((of_other == order) & (read(nodes) < nodes))


def resolve(graph: Graph, meeting: Meeting, states: jax.Array, rules: jax.Array,
            rules_replaced: jax.Array | None = None) -> jax.Array:
    """The states after a pass.

    Args:
      graph: of N agents.
      meeting: from `meet`.
      states: uint8 [N, R], before the pass.
      rules: uint8 [N, R], the new state, or `FOLLOW` for the teacher's state with `REPLACED`.
      rules_replaced: likewise for a teacher that has been replaced by then; None if that makes no
        difference.
    """
    # A rule that follows holds what it would copy now, too, so that the rules are where to start.
    copied = REPLACED | graphs.read_chosen(graph, states, meeting.teacher)
    follows = jnp.where(meeting.is_earlier, FOLLOW | copied, copied)
    rules = jnp.where(rules == FOLLOW, follows, rules)
    if rules_replaced is not None:
        rules_replaced = jnp.where(rules_replaced == FOLLOW, follows, rules_replaced)
        rules_replaced = jnp.where(meeting.is_earlier, rules_replaced, rules)

    def update(carry):
        now, _ = carry
        of_teacher = graphs.read_chosen(graph, now, meeting.teacher)
        chosen = rules if rules_replaced is None else jnp.where(
            (of_teacher & REPLACED) > 0, rules_replaced, rules)
        new = jnp.where((chosen & FOLLOW) > 0, FOLLOW | REPLACED | of_teacher, chosen)
        return new, jnp.any(new != now)

    final, _ = jax.lax.while_loop(lambda carry: carry[1], update, (rules, jnp.bool_(True)))
    return final & ~np.uint8(FOLLOW)


def _kept(x: jax.Array) -> jax.Array:
    """x, computed once.

    XLA would compute what several neighbours read again for each of them, which takes twice as
    long; it does not look behind a condition that it cannot foresee.
    """
    return jax.lax.cond(jax.lax.optimization_barrier(jnp.bool_(True)), lambda x: x, jnp.negative, x)
