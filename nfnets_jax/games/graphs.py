"""Who plays with whom: graphs of agents, and reading what an agent's neighbours hold.

Agents are numbered from 0. What they hold is an array [N, R], of R populations at once. On a torus
neighbours are read by shifts, elsewhere by a table.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import networkx
import numpy as np

# (rows, columns) by which the first 4, or all 8, neighbours on a torus are away.
OFFSETS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
# Sums over more neighbours than this are loops, so that programs stay small.
_MOST_UNROLLED = 8
_LARGEST_TABLE = 2**28  # entries, 1 GiB


class Graph(NamedTuple):
    """An undirected graph without loops or repeated edges.

    Attributes:
      neighbors: int32 [N, largest degree], those of each node; rows of nodes that have fewer are
        filled up with the node itself.
      degrees: int32 [N].
      sides: height and width of a torus, whose node (i, j) is i * width + j and whose neighbour d
        is `OFFSETS[d]` away; None for other graphs.
    """

    neighbors: np.ndarray
    degrees: np.ndarray
    sides: tuple[int, int] | None = None

    @property
    def is_regular(self) -> bool:
        """Whether all nodes have the same degree."""
        return bool((self.degrees == self.neighbors.shape[1]).all())


def torus(height: int, width: int, num_neighbors: int = 4) -> Graph:
    """A grid that is periodic both ways, with 4 (von Neumann) or 8 (Moore) neighbours.

    Raises:
      ValueError: for a side below 3, where neighbours on both sides are the same node, or another
        number of neighbours.
    """
    for name, side in (("height", height), ("width", width)):
        if side < 3:
            raise ValueError(f"{name}={side}: on a torus with a side below 3 both neighbours in a "
                             "row are the same node; use at least 3")
    if num_neighbors not in (4, 8):
        raise ValueError(f"num_neighbors={num_neighbors}: a torus has 4 or 8")
    nodes = np.arange(height * width, dtype=np.int32).reshape(height, width)
    neighbors = [np.roll(nodes, (-i, -j), (0, 1)).reshape(-1) for i, j in OFFSETS[:num_neighbors]]
    return Graph(np.stack(neighbors, axis=1), np.full(nodes.size, num_neighbors, np.int32),
                 (height, width))


def ring(num_nodes: int, num_neighbors: int = 2) -> Graph:
    """A circle in which each node is connected with the nearest `num_neighbors`.

    Raises:
      ValueError: if they are not an even number of other nodes.
    """
    if num_neighbors % 2 or not 2 <= num_neighbors < num_nodes:
        raise ValueError(f"num_neighbors={num_neighbors}: on a ring of num_nodes={num_nodes} it "
                         f"must be even, at least 2 and below {num_nodes}")
    return _from_networkx(networkx.circulant_graph(num_nodes, range(1, num_neighbors // 2 + 1)))


def watts_strogatz(num_nodes: int, num_neighbors: int, rewiring_probability: float,
                   seed: int) -> Graph:
    """A ring whose edges are moved to random ends with some probability.

    Args:
      num_nodes: N.
      num_neighbors: of each node in the ring.
      rewiring_probability: of each edge, whose first end stays.
      seed: of the graph.

    Raises:
      ValueError: as for `ring`.
    """
    ring(num_nodes, num_neighbors)
    return _from_networkx(networkx.watts_strogatz_graph(
        num_nodes, num_neighbors, rewiring_probability, seed=seed))


def barabasi_albert(num_nodes: int, num_edges: int, seed: int) -> Graph:
    """Nodes come one after the other and choose `num_edges` others in proportion to their degrees.

    Raises:
      ValueError: unless 1 <= num_edges < num_nodes.
    """
    if not 1 <= num_edges < num_nodes:
        raise ValueError(f"num_edges={num_edges}: a new node chooses at least 1 and fewer than the "
                         f"num_nodes={num_nodes} that there are")
    return _from_networkx(networkx.barabasi_albert_graph(num_nodes, num_edges, seed=seed))


def erdos_renyi(num_nodes: int, mean_degree: float, seed: int,
                allow_isolated: bool = False) -> Graph:
    """Every pair is connected with probability `mean_degree / (N - 1)`.

    Args:
      num_nodes: N.
      mean_degree: expected.
      seed: of the graph.
      allow_isolated: whether nodes without neighbours are kept.

    Raises:
      ValueError: if the probability is not between 0 and 1, or as for `from_edges`.
    """
    if not 0.0 < mean_degree <= num_nodes - 1:
        raise ValueError(f"mean_degree={mean_degree:g}: must be above 0 and at most "
                         f"{num_nodes - 1} for num_nodes={num_nodes}")
    return _from_networkx(networkx.fast_gnp_random_graph(
        num_nodes, mean_degree / (num_nodes - 1), seed=seed), allow_isolated)


def random_regular(num_nodes: int, num_neighbors: int, seed: int) -> Graph:
    """A graph drawn from those in which all nodes have `num_neighbors`.

    Raises:
      ValueError: if there is none.
    """
    if num_nodes * num_neighbors % 2 or not 1 <= num_neighbors < num_nodes:
        raise ValueError(f"num_neighbors={num_neighbors}: must be at least 1, below num_nodes="
                         f"{num_nodes}, and even if that is odd")
    return _from_networkx(networkx.random_regular_graph(num_neighbors, num_nodes, seed=seed))


def from_edges(num_nodes: int, edges: np.ndarray, allow_isolated: bool = False) -> Graph:
    """The graph of an edge list.

    Args:
      num_nodes: N.
      edges: int [E, 2], pairs of nodes, in any order; each edge once.
      allow_isolated: whether there may be nodes without neighbours, which never change.

    Raises:
      ValueError: for a node that does not exist, a loop, an edge that comes twice, a graph without
        edges, isolated nodes that are not allowed, or one with too many neighbours for a table.
    """
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    if len(edges) == 0:
        raise ValueError("the graph has no edges; nobody would play")
    if edges.min() < 0 or edges.max() >= num_nodes:
        raise ValueError(f"an edge has the node {edges.min() if edges.min() < 0 else edges.max()}; "
                         f"with num_nodes={num_nodes} nodes are 0 to {num_nodes - 1}")
    loops = edges[edges[:, 0] == edges[:, 1]]
    if len(loops):
        raise ValueError(f"node {loops[0, 0]} has an edge to itself; remove it")
    low, high = np.sort(edges, axis=1).T
    pairs, counts = np.unique(low * num_nodes + high, return_counts=True)
    if counts.max() > 1:
        i, j = divmod(int(pairs[counts.argmax()]), num_nodes)
        raise ValueError(f"the edge {i} - {j} comes {counts.max()} times; keep it once")
    low, high = np.divmod(pairs, num_nodes)
    first, second = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    degrees = np.bincount(first, minlength=num_nodes)
    isolated = np.flatnonzero(degrees == 0)
    if len(isolated) and not allow_isolated:
        raise ValueError(f"{len(isolated)} of {num_nodes} nodes are isolated, the first is node "
                         f"{isolated[0]}; remove them, use another seed or more edges, or set "
                         "allow_isolated, with which they never change")
    if num_nodes * int(degrees.max()) > _LARGEST_TABLE:
        raise ValueError(f"node {degrees.argmax()} has {degrees.max()} neighbours: tables have as "
                         f"many columns, which are too many for {num_nodes} nodes; at most "
                         f"{_LARGEST_TABLE // num_nodes} fit")
    neighbors = np.tile(np.arange(num_nodes, dtype=np.int32)[:, None], (1, degrees.max()))
    starts = np.cumsum(degrees) - degrees
    neighbors[first, np.arange(len(first)) - starts[first]] = second
    return Graph(neighbors, degrees.astype(np.int32))


def choose_neighbor(graph: Graph, words: jax.Array) -> jax.Array:
    """One neighbour of each node, uniformly.

    Args:
      graph: G.
      words: uint32 [N, R], random; their lower 16 bits are used, so that the probability of a
        neighbour is within 2^-16 of 1 / degree, and exact for degrees 2, 4, 8, ...

    Returns:
      [N, R]: on a torus uint8, which neighbour it is; elsewhere int32, the node. An isolated
      node chooses itself.
    """
    number = (words & 0xFFFF) * graph.degrees.astype(np.uint32)[:, None] >> 16
    if graph.sides is not None:
        return number.astype(jnp.uint8)
    return jnp.asarray(graph.neighbors)[
        np.arange(len(graph.degrees))[:, None], number.astype(jnp.int32)]


def read_chosen(graph: Graph, x: jax.Array, chosen: jax.Array) -> jax.Array:
    """What the neighbours of `choose_neighbor` hold.

    Args:
      graph: G.
      x: [N, R].
      chosen: [N, R], from `choose_neighbor`.
    """
    if graph.sides is None:
        return jnp.take_along_axis(x, chosen, axis=0)
    held = _shift(graph, x, 0)
    for d in range(1, graph.neighbors.shape[1]):
        held = jnp.where(chosen == d, _shift(graph, x, d), held)
    return held


def fold_neighbors(graph: Graph, function: Callable[..., Any], initial: Any) -> Any:
    """Goes through the first, second, ... neighbours of all nodes.

    Args:
      graph: G.
      function: `(carry, read, exists) -> carry`, where `read(x)` [N, R] is what those neighbours
        hold and `exists` says which nodes have them: bool [N, 1], or True.
      initial: carry.
    """
    most = graph.neighbors.shape[1]
    if graph.sides is not None:
        for d in range(most):
            initial = function(initial, lambda x, d=d: _shift(graph, x, d), True)
        return initial
    columns = jnp.asarray(graph.neighbors.T)

    def step(d, carry):
        exists = True if graph.is_regular else d < jnp.asarray(graph.degrees)[:, None]
        return function(carry, lambda x: x[columns[d]], exists)

    return jax.lax.fori_loop(0, most, step, initial, unroll=most <= _MOST_UNROLLED)


def count_neighbors(graph: Graph, x: jax.Array) -> jax.Array:
    """How many neighbours hold 1.

    Args:
      graph: G.
      x: [N, R], zeros and ones.

    Returns:
      [N, R], uint8 if that is enough, else int32.
    """
    dtype = jnp.uint8 if graph.neighbors.shape[1] < 256 else jnp.int32

    def add(total, read, exists):
        return total + jnp.where(exists, read(x), 0).astype(dtype)

    return fold_neighbors(graph, add, jnp.zeros(x.shape, dtype))


def _shift(graph: Graph, x: jax.Array, d: int) -> jax.Array:
    rows, columns = OFFSETS[d]
    grid = x.reshape(*graph.sides, *x.shape[1:])
    if rows:
        grid = jnp.roll(grid, -rows, axis=0)
    if columns:
        grid = jnp.roll(grid, -columns, axis=1)
    return grid.reshape(x.shape)


def _from_networkx(graph: networkx.Graph, allow_isolated: bool = False) -> Graph:
    edges = np.array(graph.edges(), np.int64).reshape(-1, 2)
    return from_edges(graph.number_of_nodes(), edges, allow_isolated)
