"""Parallel passes against literal loops, exact laws and the numbers of the specification."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.games import graphs, imitation
from nfnets_jax.games.payoffs import coordination_matrix
from tests.games import sequential

TORUS = graphs.torus(16, 16)
MOORE = graphs.torus(6, 8, 8)
IRREGULAR = graphs.erdos_renyi(150, 4.0, seed=3, allow_isolated=True)
GRAPHS = {"torus": TORUS, "moore": MOORE, "irregular": IRREGULAR}
MODES = [
    {},
    {"teacher_payoff": "zero"},
    {"update": "synchronous"},
    {"update": "checkerboard", "teacher_payoff": "zero"},
    {"mutation": "switch"},
    {"mutation": "overridable", "teacher_payoff": "zero"},
]


@functools.partial(jax.jit, static_argnames=("graph_name", "options"))
def run(key, norms, c, strength, mu, graph_name, options):
    return imitation.imitate(
        key, norms, GRAPHS[graph_name],
        coordination_matrix(0.4, 0.6, c), selection_strength=strength, mutation_rate=mu,
        **dict(options))


@pytest.mark.parametrize("graph_name, mode, seeds", [
    *(("torus", mode, 9) for mode in MODES), *(("irregular", mode, 4) for mode in MODES[:2])])
def test_a_pass_is_that_of_the_sequential_loop(graph_name, mode, seeds):
    graph = GRAPHS[graph_name]
    random = np.random.default_rng(len(str(mode)))
    for seed in range(seeds):
        c, mu, strength = random.random(), 0.3 * random.random(), 8 * random.random()
        key = jax.random.key(seed)
        norms = random.integers(0, 2, (1, len(graph.degrees))).astype(np.int8)
        got = run(key, norms, c, strength, mu, graph_name, tuple(mode.items()))[0]
        words = sequential.draw(key, 1, norms.shape[1])[0]
        expected = sequential.imitate(
            words, norms[0], graph, coordination_matrix(0.4, 0.6, c), strength, mu, **mode)
        np.testing.assert_array_equal(got, expected)


def test_eight_neighbors_in_four_colours():
    key, norms = jax.random.key(5), np.random.default_rng(0).integers(0, 2, (1, 48)).astype(np.int8)
    got = run(key, norms, 0.5, 5.0, 0.1, "moore", (("update", "checkerboard"),))
    np.testing.assert_array_equal(got[0], sequential.imitate(
        sequential.draw(key, 1, 48)[0], norms[0], MOORE, coordination_matrix(0.4, 0.6, 0.5), 5.0,
        0.1, "checkerboard"))


def test_a_replica_does_not_depend_on_how_many_there_are():
    key = jax.random.key(2)
    norms = np.asarray(imitation.random_strategies(key, 5, 256))
    np.testing.assert_array_equal(imitation.random_strategies(key, 1, 256), norms[:1])
    options = (("teacher_payoff", "zero"),)
    many = run(key, norms, 0.5, 5.0, 0.05, "torus", options)
    np.testing.assert_array_equal(
        run(key, norms[:1], 0.5, 5.0, 0.05, "torus", options), many[:1])
    assert (many[0] != many[1]).any()


def test_agents_of_one_norm_alone_accept_with_the_probabilities_of_the_closed_form():
    """At c = 0 payoffs of unlike agents differ by the whole range: logistic(5) and (-5)."""
    board = (np.indices((16, 16)).sum(0) % 2).reshape(1, -1).astype(np.int8)
    norms = np.tile(board, (400, 1))
    after = np.asarray(run(jax.random.key(0), norms, 0.0, 5.0, 0.0, "torus",
                           (("update", "synchronous"),)))
    for norm, expected in ((0, 0.993307), (1, 0.006693)):
        rate = np.mean(after[norms == norm] != norm)
        assert rate == pytest.approx(expected, abs=4 * np.sqrt(0.993307 * 0.006693 / 51200))


def test_comparisons_of_payoffs():
    """Two stars, one of A with two leaves, one of B with four, joined at their centres."""
    edges = [[0, 1], [0, 2], [3, 4], [3, 5], [3, 6], [3, 7], [0, 3]]
    graph, matrix = graphs.from_edges(8, edges), np.array([[0.4, 0.1], [0.2, 0.6]])
    states = jnp.asarray(np.array([0, 0, 0, 1, 1, 1, 1, 1], np.uint8)[:, None])
    # Agent 0 with teacher 3: their payoffs are 2 * 0.4 + 0.1 and 4 * 0.6 + 0.2.
    words = jnp.full((8, 1), 0xFFFF, jnp.uint32)
    for comparison, difference in (("raw", 1.7), ("normalized", 1.7 / (5 * 0.6 - 0.1)),
                                   ("mean", (2.6 / 5 - 0.3) / 0.5)):
        meeting = imitation.meet(graph, states, words, matrix, 2.0, "synchronous", comparison)
        assert float(meeting.accept[0, 0]) == pytest.approx(
            1 / (1 + np.exp(-2.0 * difference)), rel=1e-5)


def test_without_selection_and_mutation_the_share_by_degree_is_a_martingale():
    graph = graphs.barabasi_albert(300, 2, seed=4)
    hubs = graph.degrees >= 8
    norms = jnp.tile(jnp.asarray(hubs, jnp.int8), (400, 1))

    def step(norms, i):
        norms = imitation.imitate(
            jax.random.fold_in(jax.random.key(3), i), norms, graph, coordination_matrix(
                0.4, 0.6, 0.5), selection_strength=0.0, mutation_rate=0.0, update="synchronous")
        return norms, None

    after = np.asarray(jax.jit(lambda norms: jax.lax.scan(step, norms, jnp.arange(20))[0])(norms))
    weights = graph.degrees / graph.degrees.sum()
    shares = after @ weights
    error = shares.std() / np.sqrt(len(shares))
    assert abs(shares.mean() - hubs @ weights) < 4 * error
    assert after.mean() - hubs.mean() > 10 * error  # the share of heads is none


@pytest.mark.parametrize("graph, options, message", [
    (graphs.torus(5, 4), {"update": "checkerboard"}, "a torus of 5 x 4"),
    (graphs.ring(6), {"update": "checkerboard"}, "even sides, not another graph"),
    (TORUS, {"update": "synchronous", "teacher_payoff": "zero"}, "nobody is replaced before"),
    (TORUS, {"update": "random"}, "update='random': must be one of random_sequential"),
])
def test_passes_without_a_meaning_are_refused(graph, options, message):
    with pytest.raises(ValueError, match=message):
        imitation.check_update(graph, **options)
