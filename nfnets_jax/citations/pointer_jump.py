"""The model 'ba' with replacement inside a paper: all references of a block of papers at once.

A draw of weight d + a is a uniform paper, or a copy of the target of a uniform older reference.
Within the block a copy is first a pointer to another reference; all pointers are then followed at
once, each step doubling how far they have come. That is exact, and the same idea as in Sanders and
Schulz 2016 (arXiv 1602.07106, as recalled).
"""

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.citations.sampling import propose, random_words


def draw_block(
    key: jax.Array,
    targets: jax.Array,
    first_edge: jax.Array,
    papers: jax.Array,
    older: jax.Array,
    attractiveness: jax.Array | float,
) -> jax.Array:
    """Draws a run of references, given all those before it.

    Args:
      key: uint32 [2]; a reference is a function of the key, its place and the ones before it.
      targets: int32 [E], right up to `first_edge`.
      first_edge: int32 scalar.
      papers: int32 [B], the paper that has each reference of the run; its number is that of the
        papers before it.
      older: int32 [B], how many references these have.
      attractiveness: a > 0.

    Returns:
      The targets, int32 [E], right up to `first_edge + B`.
    """
    place = first_edge + jnp.arange(len(papers), dtype=jnp.int32)
    is_paper, index = propose(random_words(key, place.astype(jnp.uint32), jnp.uint32(0)),
                              papers, older, attractiveness)
    is_pointer = ~is_paper & (index >= first_edge)
    copied = targets[jnp.where(is_paper | is_pointer, 0, index)]
    # What is known is kept as ~paper, which is negative.
    value = jnp.where(is_pointer, index - first_edge, ~jnp.where(is_paper, index, copied))
    value = jax.lax.while_loop(
        lambda value: jnp.any(value >= 0),
        lambda value: jnp.where(value >= 0, value[jnp.maximum(value, 0)], value), value)
    return jax.lax.dynamic_update_slice(targets, ~value, (first_edge,))


def largest_block(offsets: np.ndarray, first: int, papers_per_block: int) -> int:
    """The number of references of the block that has most, among those from paper `first` on."""
    edges = offsets[np.minimum(np.arange(first, len(offsets) - 1 + papers_per_block,
                                         papers_per_block), len(offsets) - 1)]
    return int(np.diff(edges).max(initial=0))
