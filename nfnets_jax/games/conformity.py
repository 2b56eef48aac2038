"""Conformity beside imitation: with some probability an agent does as most of its neighbours do.

    with probability k          the norm that most neighbours have by then; with a tie one's own
    otherwise                   imitation by the Fermi rule, as in `imitation`
    mutation                    to a uniformly random norm, with probability mu

It is our reconstruction, after a rule that the first release of arXiv 1704.04720 had; the text of
arXiv 1804.07406 could not be read. The other model, conformity as a part of the utility, is
`imitation.imitate` with `payoffs.utility_matrix`.

An agent depends on all neighbours that come before it in the random order. All rules are evaluated
again and again, with new norms of those who come before and old norms of the others, until nothing
changes: that is what the sequential pass gives, after no more rounds than its longest
chain has links.
"""

import jax
import jax.numpy as jnp

from nfnets_jax.games import graphs, imitation
from nfnets_jax.games.graphs import Graph

# Whether conformists always mutate with probability mu and imitators only when they accept, as in
# the release of 2017, or everybody always.
MUTATIONS = ("as_2017", "every_update")


def conform(
    key: jax.Array,
    strategies: jax.Array,
    graph: Graph,
    payoffs: jax.Array,
    *,
    conformity: float | jax.Array,
    selection_strength: float,
    mutation_rate: float,
    update: str = "random_sequential",
    mutation: str = "as_2017",
) -> jax.Array:
    """One generation. Payoffs are those of its beginning.

    Args:
      key: random numbers of replica r are a function of (key, r) alone.
      strategies: int8 [R, N], of R independent populations.
      graph: of N agents; isolated ones keep their norm.
      payoffs: float [2, 2], such as `payoffs.coordination_matrix`; traced.
      conformity: k in [0, 1], of all agents or [N], of each; traced.
      selection_strength: s; traced.
      mutation_rate: mu; traced.
      update: one of `imitation.UPDATES`.
      mutation: one of `MUTATIONS`.

    Returns:
      int8 [R, N].

    Raises:
      ValueError: as `imitation.check_update`.
    """
    imitation.check_update(graph, update)
    decision, words = imitation.random_words(key, *strategies.shape)
    states = strategies.T.astype(jnp.uint8)
    meeting = imitation.meet(graph, states, words, payoffs, selection_strength, update)
    chance = imitation.uniform(decision)
    k, mu = jnp.asarray(conformity, jnp.float32), mutation_rate
    k = k[:, None] if k.ndim else k

    # What happens in turn to a chance that grows from 0 to 1: to conform or mutate instead, then to
    # imitate or mutate instead, then to stay.
    if mutation == "as_2017":
        ends = k, k + (1.0 - k) * meeting.accept
        mutates = [(0.0, k * mu), (k, k + (ends[1] - k) * mu)]
    else:
        ends = mu + (1.0 - mu) * k, mu + (1.0 - mu) * (k + (1.0 - k) * meeting.accept)
        mutates = [(0.0, mu)]
    conforms, imitates = chance < ends[0], (chance >= ends[0]) & (chance < ends[1])
    fixed = ~conforms & ~imitates
    alone = states
    for first, last in mutates:
        here = (chance >= first) & (chance < last)
        alone = jnp.where(here, (chance >= 0.5 * (first + last)).astype(jnp.uint8), alone)
        fixed |= here
    fixed |= graph.degrees[:, None] == 0
    alone = jnp.where(graph.degrees[:, None] == 0, states, alone)
    of_teacher = graphs.read_chosen(graph, states, meeting.teacher)
    degrees = jnp.asarray(graph.degrees[:, None])

    def apply(count, of_teacher):
        doubled = 2 * count.astype(jnp.int32)
        majority = jnp.where(doubled == degrees, states, (doubled > degrees).astype(jnp.uint8))
        return jnp.where(fixed, alone, jnp.where(conforms, majority, of_teacher))

    after = apply(graphs.count_neighbors(graph, states), of_teacher)
    if update == "synchronous":
        return after.astype(jnp.int8).T
    order = imitation.order_of(graph, words, update)

    def evaluate(carry):
        now, _ = carry

        def add(total, read, exists):
            seen = jnp.where(imitation.comes_before(read, order), read(now), read(states))
            return total + jnp.where(exists, seen, 0).astype(total.dtype)

        count = graphs.fold_neighbors(graph, add, jnp.zeros(now.shape, jnp.int32))
        copied = graphs.read_chosen(graph, now, meeting.teacher)
        new = apply(count, jnp.where(meeting.is_earlier, copied, of_teacher))
        return new, jnp.any(new != now)

    after, _ = jax.lax.while_loop(lambda carry: carry[1], evaluate, (after, jnp.bool_(True)))
    return after.astype(jnp.int8).T
