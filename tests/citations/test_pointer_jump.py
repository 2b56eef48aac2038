"""All references at once against one after the other."""

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.citations import pointer_jump, sampling


def test_a_block_is_what_a_loop_draws():
    counts = np.array([0, 1, 2, 5, 3, 0, 7, 4, 6, 5, 9, 8])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    first_paper, first, num_edges = 4, offsets[4], offsets[-1]
    key = jax.random.key_data(jax.random.key(3))
    papers = np.repeat(np.arange(len(counts)), counts)
    start = np.zeros(num_edges, np.int32)
    start[:first] = np.random.default_rng(0).integers(0, papers[:first])
    found = pointer_jump.draw_block(
        key, jnp.asarray(start), jnp.int32(first), jnp.asarray(papers[first:], jnp.int32),
        jnp.asarray(offsets[papers[first:]], jnp.int32), 0.5)
    expected, pointers = start.copy(), 0
    for edge in range(first, num_edges):
        words = sampling.random_words(key, jnp.uint32(edge), jnp.uint32(0))
        is_paper, index = sampling.propose(words, jnp.int32(papers[edge]),
                                           jnp.int32(offsets[papers[edge]]), 0.5)
        expected[edge] = index if is_paper else expected[index]
        pointers += int(~is_paper & (index >= first))
    np.testing.assert_array_equal(found, expected)
    assert pointers > 8  # some of them follow others
    assert np.all(expected < papers)
    assert pointer_jump.largest_block(offsets, first_paper, 3) == 17
    assert pointer_jump.largest_block(offsets, first_paper, 100) == num_edges - first
