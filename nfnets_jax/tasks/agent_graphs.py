"""The graph of a simulation of agents, as fields of its config."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from nfnets_jax.config import ConfigError, Fields, boolean, integer, number, text
from nfnets_jax.games import graphs
from nfnets_jax.games.graphs import Graph

# Graph -> its fields and their defaults.
_GRAPHS: Mapping[str, Mapping[str, Any]] = {
    "torus": {"height": 50, "width": 50, "num_neighbors": 4},
    "ring": {"num_nodes": 2500, "num_neighbors": 2},
    "watts_strogatz": {"num_nodes": 2500, "num_neighbors": 4, "rewiring_probability": 0.1,
                       "seed": 0},
    "barabasi_albert": {"num_nodes": 2500, "num_edges": 2, "seed": 0},
    "erdos_renyi": {"num_nodes": 2500, "mean_degree": 4.0, "seed": 0, "allow_isolated": False},
    "random_regular": {"num_nodes": 2500, "num_neighbors": 4, "seed": 0},
    # Lines of two numbers of nodes, from 0; '#' begins a comment.
    "edges": {"path": None, "allow_isolated": False},
}

FIELDS: Fields = {
    "name": text("torus", tuple(_GRAPHS)),
    "height": integer(None, 1, 2**15),
    "width": integer(None, 1, 2**15),
    "num_nodes": integer(None, 2, 2**24),
    "num_neighbors": integer(None, 1),
    "num_edges": integer(None, 1),  # of each node that comes
    "mean_degree": number(None, 0, open_below=True),
    "rewiring_probability": number(None, 0, 1),
    "seed": integer(None, 0),
    "path": text(None),
    "allow_isolated": boolean(None),  # nodes without neighbours, which never change
}


def check(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fills in the defaults of the named graph and builds it.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    defaults = _GRAPHS[fields["name"]]
    for field, value in fields.items():
        if field != "name" and field not in defaults and value is not None:
            raise ConfigError(f"graph.{field}={value!r}: {fields['name']} has the fields "
                              f"{', '.join(defaults)}; unset it")
    checked = {**fields, **{field: default if fields[field] is None else fields[field]
                            for field, default in defaults.items()}}
    try:
        create(checked)
    except (ValueError, OSError) as error:
        is_of_field = any(str(error).startswith(f"{field}=") for field in fields)
        raise ConfigError(f"graph{'.' if is_of_field else ': '}{error}") from None
    return checked


def create(fields: Mapping[str, Any]) -> Graph:
    """The graph of checked fields; that of the last call is kept.

    Raises:
      ValueError: if there is none.
      OSError: if a file cannot be read.
    """
    name = fields["name"]
    return _create(name, **{field: fields[field] for field in _GRAPHS[name]})


@functools.lru_cache(maxsize=1)
def _create(name: str, **arguments: Any) -> Graph:
    if name != "edges":
        return getattr(graphs, name)(**arguments)
    if arguments["path"] is None:
        raise ValueError("path=None: name=edges needs a file with two numbers of nodes a line")
    try:
        edges = np.loadtxt(arguments["path"], np.int64, ndmin=2)
    except ValueError as error:
        raise ValueError(f"path={arguments['path']!r}: {error}") from None
    if edges.size == 0 or edges.shape[1] != 2:
        raise ValueError(f"path={arguments['path']!r}: must have lines of two numbers of nodes")
    return graphs.from_edges(int(edges.max()) + 1, edges, arguments["allow_isolated"])
