"""Graphs: who is next to whom, and reading it by shifts and by tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.games import graphs

GRAPHS = {
    "torus": lambda: graphs.torus(4, 5),
    "torus of 8": lambda: graphs.torus(3, 4, 8),
    "ring": lambda: graphs.ring(12, 4),
    "small world": lambda: graphs.watts_strogatz(40, 4, 0.2, seed=1),
    "preferential": lambda: graphs.barabasi_albert(40, 2, seed=1),
    "random": lambda: graphs.erdos_renyi(40, 3.0, seed=2, allow_isolated=True),
    "regular": lambda: graphs.random_regular(20, 3, seed=1),
}


def adjacency(graph):
    matrix = np.zeros((len(graph.degrees),) * 2, int)
    for i, (row, degree) in enumerate(zip(graph.neighbors, graph.degrees, strict=True)):
        assert (row[degree:] == i).all()
        np.add.at(matrix[i], row[:degree], 1)
    return matrix


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_go_both_ways_once_and_counts_are_products(name):
    graph = GRAPHS[name]()
    matrix = adjacency(graph)
    assert (matrix == matrix.T).all() and matrix.max() == 1 and np.trace(matrix) == 0
    x = np.random.default_rng(0).integers(0, 2, (len(matrix), 3)).astype(np.uint8)
    np.testing.assert_array_equal(graphs.count_neighbors(graph, jnp.asarray(x)), matrix @ x)


def test_sizes_are_those_asked_for():
    assert (graphs.torus(4, 5).degrees == 4).all() and (graphs.torus(3, 4, 8).degrees == 8).all()
    np.testing.assert_array_equal(np.sort(graphs.torus(4, 5).neighbors[0]), [1, 4, 5, 15])
    np.testing.assert_array_equal(np.sort(graphs.ring(12, 4).neighbors[0]), [1, 2, 10, 11])
    assert GRAPHS["small world"]().degrees.sum() == 160
    assert GRAPHS["preferential"]().degrees.sum() == 2 * 2 * 38
    # Binomial(780, 3 / 39) edges: 60 +- 7.4.
    assert abs(GRAPHS["random"]().degrees.sum() / 2 - 60) < 20
    assert (GRAPHS["regular"]().degrees == 3).all()
    different = graphs.watts_strogatz(40, 4, 0.2, seed=2)
    assert (adjacency(different) != adjacency(GRAPHS["small world"]())).any()


@pytest.mark.parametrize("name", ["torus of 8", "preferential", "random"])
def test_every_neighbor_is_chosen_equally_often(name):
    graph = GRAPHS[name]()
    draws, nodes = 4000, len(graph.degrees)
    words = jax.random.bits(jax.random.key(0), (nodes, draws))
    chosen = graphs.choose_neighbor(graph, words)
    read = graphs.read_chosen(graph, jnp.broadcast_to(
        jnp.arange(nodes)[:, None], (nodes, draws)), chosen)
    for i, (row, degree) in enumerate(zip(graph.neighbors, graph.degrees, strict=True)):
        counts = np.bincount(read[i], minlength=nodes)
        if degree == 0:
            assert counts[i] == draws
            continue
        expected = draws / degree
        assert counts[row[:degree]].sum() == draws
        # Five standard deviations of a binomial law.
        bound = 5 * np.sqrt(expected * (1 - 1 / degree)) + 1e-9
        assert np.abs(counts[row[:degree]] - expected).max() <= bound


@pytest.mark.parametrize("create, message", [
    (lambda: graphs.torus(2, 5), "height=2: on a torus with a side below 3"),
    (lambda: graphs.torus(5, 5, 6), "num_neighbors=6: a torus has 4 or 8"),
    (lambda: graphs.ring(6, 3), "num_neighbors=3: on a ring"),
    (lambda: graphs.watts_strogatz(6, 6, 0.1, 0), "num_neighbors=6: on a ring"),
    (lambda: graphs.barabasi_albert(5, 5, 0), "num_edges=5: a new node"),
    (lambda: graphs.random_regular(5, 3, 0), "num_neighbors=3: must be"),
    (lambda: graphs.erdos_renyi(40, 3.0, seed=2), "nodes are isolated, the first is node"),
    (lambda: graphs.erdos_renyi(5, 4.5, seed=2), "mean_degree=4.5"),
    (lambda: graphs.from_edges(3, [[0, 3]]), "an edge has the node 3"),
    (lambda: graphs.from_edges(3, [[1, 1]]), "node 1 has an edge to itself"),
    (lambda: graphs.from_edges(3, [[0, 1], [1, 2], [1, 0]]), "the edge 0 - 1 comes 2 times"),
    (lambda: graphs.from_edges(3, []), "no edges"),
    (lambda: graphs.from_edges(20000, [(0, i) for i in range(1, 20000)]),
     "node 0 has 19999 neighbours: .* at most 13421 fit"),
])
def test_graphs_that_cannot_be_played_on_are_refused(create, message):
    with pytest.raises(ValueError, match=message):
        create()
