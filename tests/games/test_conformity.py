"""The majority rule against a literal loop, and what pure conformity does on a torus."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.games import conformity, graphs
from nfnets_jax.games.payoffs import coordination_matrix
from tests.games import sequential

TORUS = graphs.torus(16, 16)
IRREGULAR = graphs.barabasi_albert(120, 2, seed=3)


@functools.partial(jax.jit, static_argnames=("graph_name", "options"))
def run(key, norms, k, c, mu, graph_name="torus", options=()):
    return conformity.conform(
        key, norms, TORUS if graph_name == "torus" else IRREGULAR, coordination_matrix(
            0.4, 0.6, c), conformity=k, selection_strength=5.0, mutation_rate=mu, **dict(options))


@pytest.mark.parametrize("graph_name, options", [
    ("torus", {}), ("torus", {"mutation": "every_update"}), ("torus", {"update": "synchronous"}),
    ("irregular", {})])
def test_a_pass_is_that_of_the_sequential_loop(graph_name, options):
    graph = TORUS if graph_name == "torus" else IRREGULAR
    random = np.random.default_rng(1)
    for seed in range(6):
        c, mu, nodes = random.random(), 0.3 * random.random(), len(graph.degrees)
        k = random.random(nodes) if seed % 2 else np.full(nodes, random.random())
        norms, key = random.integers(0, 2, (1, nodes)).astype(np.int8), jax.random.key(seed)
        got = run(key, norms, k, c, mu, graph_name, tuple(options.items()))[0]
        expected = sequential.conform(
            sequential.draw(key, 1, nodes)[0], norms[0], graph, coordination_matrix(0.4, 0.6, c),
            5.0, mu, k, **options)
        np.testing.assert_array_equal(got, expected)


def unlike_edges(norms):
    grid = np.asarray(norms).reshape(-1, 16, 16)
    return sum((grid != np.roll(grid, 1, axis)).sum((1, 2)) for axis in (1, 2))


def test_a_sequential_majority_never_makes_more_unlike_edges_and_comes_to_rest():
    norms = np.random.default_rng(0).integers(0, 2, (20, 256)).astype(np.int8)
    counts = [unlike_edges(norms)]
    for i in range(15):
        before, norms = norms, run(jax.random.key(i), norms, np.ones(256), 0.5, 0.0)
        counts.append(unlike_edges(norms))
    assert (np.diff(counts, axis=0) <= 0).all() and (counts[-1] < counts[0]).all()
    np.testing.assert_array_equal(before, norms)


def test_a_synchronous_majority_flips_a_checkerboard_for_ever():
    board = (np.indices((16, 16)).sum(0) % 2).reshape(1, -1).astype(np.int8)
    options = (("update", "synchronous"),)
    once = run(jax.random.key(0), board, np.ones(256), 0.5, 0.0, "torus", options)
    np.testing.assert_array_equal(once, 1 - board)
    np.testing.assert_array_equal(
        run(jax.random.key(1), once, np.ones(256), 0.5, 0.0, "torus", options), board)


def test_stripes_stay_under_pure_conformity():
    rows = np.zeros((16, 16), np.int8)
    rows[3], rows[7:10] = 1, 1
    norms = jnp.asarray(np.stack([rows.reshape(-1), rows.T.reshape(-1)]))
    for i in range(3):
        np.testing.assert_array_equal(
            run(jax.random.key(i), norms, np.ones(256), 0.5, 0.0), norms)
