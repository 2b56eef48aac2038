"""Random words against published vectors, draws against the law of successive sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.citations import sampling


@pytest.mark.parametrize("key, counter, words", [
    ((0, 0), (0, 0), (0x6b200159, 0x99ba4efe)),
    ((0xffffffff,) * 2, (0xffffffff,) * 2, (0x1cb996fc, 0xbb002be7)),
    ((0x13198a2e, 0x03707344), (0x243f6a88, 0x85a308d3), (0xc4923a9c, 0x483df7a0)),
])
def test_random_words_are_threefry(key, counter, words):
    """The known answers of Random123 for Threefry-2x32 with 20 rounds."""
    found = sampling.random_words(jnp.array(key, jnp.uint32), *map(jnp.uint32, counter))
    assert tuple(int(x) for x in found) == words


def test_upper_word_of_a_product():
    x, y = np.random.default_rng(0).integers(0, 2**32, (2, 1000), dtype=np.uint64)
    x[:3], y[:3] = (2**32 - 1, 2**32 - 1, 0), (2**32 - 1, 1, 2**32 - 1)
    found = sampling.multiply_high(*(jnp.asarray(v.astype(np.uint32)) for v in (x, y)))
    np.testing.assert_array_equal(found, (x * y) >> np.uint64(32))


def test_exponential_numbers_have_fine_tails():
    words = np.array([0, 1, 2**20, 2**31 - 1, 2**31, 2**32 - 2**20, 2**32 - 2, 2**32 - 1])
    u = (words + 0.5) / 2**32
    found = sampling.log_exponential(jnp.asarray(words.astype(np.uint32)))
    # 1 - u loses nothing in float64 here.
    np.testing.assert_allclose(found, np.log(-np.log1p(-u)), rtol=2e-6, atol=1e-6)


def test_proposals_are_products_of_words_and_sizes():
    random = np.random.default_rng(1)
    choice, place = random.integers(0, 2**32, (2, 2000), dtype=np.uint64)
    nodes, older, a = 1000, 2_000_003, 300.0
    is_paper, index = sampling.propose(
        tuple(jnp.asarray(x.astype(np.uint32)) for x in (choice, place)), jnp.int32(nodes),
        jnp.int32(older), a)
    share = a * nodes / (a * nodes + older)
    assert np.all(np.asarray(is_paper)[np.abs(choice / 2**32 - share) > 1e-6]
                  == (choice / 2**32 < share)[np.abs(choice / 2**32 - share) > 1e-6])
    assert abs(np.mean(is_paper) - share) < 4 * np.sqrt(share * (1 - share) / 2000)
    bits = [(int(p) << 32) + ((int(c) << 20) % 2**32) for c, p in zip(choice, place, strict=True)]
    expected = [b * (nodes if paper else older) >> 64
                for b, paper in zip(bits, np.asarray(is_paper).tolist(), strict=True)]
    np.testing.assert_array_equal(index, expected)


def pair_law(p):
    """P(i first, then j): p_i p_j / (1 - p_i)."""
    law = p[:, None] * p[None, :] / (1 - p[:, None])
    np.fill_diagonal(law, 0)
    return law


def check_pairs(drawn, p, numbers):
    law, size = pair_law(p), len(drawn)
    counts = np.array([[np.sum((drawn[:, 0] == i) & (drawn[:, 1] == j)) for j in numbers]
                       for i in numbers])
    assert counts.sum() == size
    assert np.all(counts[law == 0] == 0)
    z = (counts - size * law)[law > 0] / np.sqrt(size * law * (1 - law))[law > 0]
    assert np.abs(z).max() < 4
    # The pairs without order: p_i p_j (1 / (1 - p_i) + 1 / (1 - p_j)).
    np.testing.assert_allclose(law + law.T, np.outer(p, p) * (
        1 / (1 - p)[:, None] + 1 / (1 - p)[None, :]) * (1 - np.eye(len(p))), rtol=1e-12)


def test_two_races_in_a_row_are_successive_sampling():
    # Six papers in four groups of two; two members of a group are heavy, one is not there.
    p = np.array([0.4, 0.05, 0.1, 0.1, 0.3, 0.05])
    log_weights = np.full(8, sampling.ABSENT, np.float32)
    log_weights[:6] = np.log(p) + 50  # whatever their scale
    columns = jnp.asarray(log_weights.reshape(2, 4))

    def draw(paper):
        return sampling.draw_distinct(
            jax.random.key_data(jax.random.key(0)), paper, jnp.int32(2),
            sampling.log_total(columns), lambda group: columns[:, group], 2, 3)

    drawn = np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(40_000)))
    assert np.all(drawn[:, 2] == 8)
    check_pairs(drawn, p, range(6))


def test_copies_that_are_drawn_again_are_successive_sampling():
    targets = jnp.array([0, 0, 1, 0, 2, 0, 1, 9, 9], jnp.int32)
    weights = np.array([4, 2, 1, 0, 0]) + 0.4
    keys = jax.random.key_data(jax.random.split(jax.random.key(1), 40_000))
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: sampling.copy_distinct(
        key, jnp.int32(5), jnp.int32(2), jnp.int32(7), targets, 0.4, 3)))(keys))
    assert np.all(drawn[:, 2] == -1)
    check_pairs(drawn, weights / weights.sum(), range(5))
