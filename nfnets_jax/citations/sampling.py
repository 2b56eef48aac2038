"""Drawing papers in proportion to their weights, without a repetition.

A weighted draw is a race: paper j starts a clock of rate w_j, and the first to ring is drawn. Drawn
papers leave the race. This is successive sampling, and the law of `numpy.random.choice` without
replacement. Races are run in two rounds, first of groups and then of the members of one, so that
their cost grows as the square root of the number of papers; and on logarithms, so that nothing is
lost where one weight is a million times as large as all others.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_LANES = 2**16  # of one draw
BATCH = 16  # proposals that are made at a time
ABSENT = -1e30  # the logarithm of no weight; finite, as all of a state must be


def random_words(key: jax.Array, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two words for each pair of counters: Threefry-2x32 with 20 rounds, elementwise.

    It is JAX's own generator, written out: in this form it is fused with what uses the words,
    and took a sixth of the time on a CPU.

    Args:
      key: uint32 [2], `jax.random.key_data` of a key.
      high: uint32.
      low: uint32, of a shape that broadcasts with that of `high`.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = high + keys[0], low + keys[1]
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x, y = x + keys[(i + 1) % 3], y + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return x, y


def multiply_high(x: jax.Array, y: jax.Array) -> jax.Array:
    """The upper word of the product of two uint32, elementwise."""
    mask = jnp.uint32(0xFFFF)
    x_low, x_high, y_low, y_high = x & mask, x >> 16, y & mask, y >> 16
    middle = x_high * y_low + (x_low * y_low >> 16)
    return x_high * y_high + (middle >> 16) + (x_low * y_high + (middle & mask) >> 16)


def log_exponential(words: jax.Array) -> jax.Array:
    """Logarithms of exponential random numbers of rate 1, from uint32; elementwise.

    Both tails are as fine as the words: the numbers lie between 2^-33 and 22.9.
    """
    def uniform(x):
        return (x.astype(jnp.float32) + 0.5) * 2.0**-32

    is_low = words < jnp.uint32(2**31)
    u = uniform(jnp.where(is_low, words, ~words))  # at most 1/2, on either side
    return jnp.log(-jnp.where(is_low, jnp.log1p(-u), jnp.log(u)))


def log_total(log_weights: jax.Array) -> jax.Array:
    """The logarithm of the sum of weights over the first axis; at most `ABSENT` where all are 0."""
    largest = jnp.maximum(jnp.max(log_weights, axis=0), ABSENT)
    return largest + jnp.log(jnp.sum(jnp.exp(log_weights - largest), axis=0))


def draw_distinct(
    key: jax.Array,
    paper: jax.Array,
    count: jax.Array,
    group_log_weights: jax.Array,
    member_log_weights: Callable[[jax.Array], jax.Array],
    num_members: int,
    largest_count: int,
) -> jax.Array:
    """Draws different papers one after the other, each in proportion to the weights that are left.

    Paper j is member j // G of group j % G.

    Args:
      key: uint32 [2].
      paper: int32 scalar; the draw is a function of the key, the paper and the weights.
      count: int32 scalar, how many.
      group_log_weights: float32 [G], logarithms of the sums of the weights of their members.
      member_log_weights: `group -> float32 [num_members]`; `ABSENT` for papers that are not there.
      num_members: of a group.
      largest_count: what `count` never exceeds.

    Returns:
      int32 [largest_count]; after the first `count`, entries are G num_members.
    """
    num_groups = len(group_log_weights)
    absent = num_groups * num_members
    lanes = np.arange((num_groups + num_members + 1) // 2, dtype=np.uint32)

    def body(j, carry):
        drawn, groups = carry
        clocks = log_exponential(jnp.concatenate(random_words(
            key, paper.astype(jnp.uint32), j.astype(jnp.uint32) * _LANES + lanes)))
        group = jnp.argmin(clocks[:num_groups] - groups).astype(jnp.int32)
        weights = member_log_weights(group)
        weights = weights.at[jnp.where(drawn % num_groups == group, drawn // num_groups,
                                       num_members)].set(-jnp.inf, mode="drop")
        member = jnp.argmin(clocks[num_groups:num_groups + num_members] - weights)
        member = member.astype(jnp.int32)
        rest = log_total(weights.at[member].set(-jnp.inf))
        return (drawn.at[j].set(member * num_groups + group), groups.at[group].set(rest))

    drawn = jnp.full(largest_count, absent, jnp.int32)
    return jax.lax.fori_loop(0, count, body, (drawn, group_log_weights))[0]


def propose(words: tuple[jax.Array, jax.Array], nodes: jax.Array, older: jax.Array,
            attractiveness: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """Draws of weight d + a by copying: a uniform paper, or the target of a uniform reference.

    The former has the probability a n / (a n + E); it is right to 2^-24, and the choice among the E
    references to 2^-44. Elementwise.

    Args:
      words: two of uint32.
      nodes: int32, n, how many papers there are.
      older: int32, E, how many references these have.
      attractiveness: a > 0.

    Returns:
      Whether it is a paper, bool, and its index among papers or references, int32.
    """
    choice, place = words
    static = attractiveness * nodes.astype(jnp.float32)
    share = static / (static + older.astype(jnp.float32))
    threshold = jnp.minimum(share * 2.0**32, 2.0**32 - 2.0**8).astype(jnp.uint32)
    is_paper = (choice < threshold) | (older == 0)
    size = jnp.where(is_paper, nodes, older).astype(jnp.uint32)
    # The last 12 bits of `choice` are free, and continue those of `place`.
    low = place * size
    carry = low + multiply_high(choice << 20, size) < low
    return is_paper, (multiply_high(place, size) + carry.astype(jnp.uint32)).astype(jnp.int32)


def copy_distinct(
    key: jax.Array,
    paper: jax.Array,
    count: jax.Array,
    older: jax.Array,
    targets: jax.Array,
    attractiveness: jax.Array | float,
    largest_count: int,
) -> jax.Array:
    """`draw_distinct` for the weights d + a: repetitions are drawn again.

    Args:
      key: uint32 [2].
      paper: int32 scalar, also the number of papers before it.
      count: int32 scalar, at most `paper`.
      older: int32 scalar, how many references these papers have.
      targets: int32 [>= older], what they cite.
      attractiveness: a > 0.
      largest_count: what `count` never exceeds.

    Returns:
      int32 [largest_count]; -1 after the first `count`.
    """
    order = np.arange(largest_count + BATCH)
    is_earlier = order[None, :] < order[largest_count:, None]

    def body(carry):
        drawn, found, attempt = carry
        lanes = attempt * BATCH + np.arange(BATCH, dtype=np.uint32)
        is_paper, index = propose(random_words(key, paper.astype(jnp.uint32), lanes), paper, older,
                                  attractiveness)
        proposed = jnp.where(is_paper, index, targets[jnp.where(is_paper, 0, index)])
        both = jnp.concatenate([drawn, proposed])
        is_new = ~jnp.any((proposed[:, None] == both[None, :]) & is_earlier, axis=1)
        rank = found + jnp.sum(is_new[None, :] & is_earlier[:, largest_count:], axis=1)
        drawn = drawn.at[jnp.where(is_new & (rank < count), rank, largest_count)].set(
            proposed, mode="drop")
        return drawn, found + jnp.sum(is_new, dtype=jnp.int32), attempt + 1

    drawn = jnp.full(largest_count, -1, jnp.int32)
    start = (drawn, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.uint32))
    return jax.lax.while_loop(lambda carry: carry[1] < count, body, start)[0]
