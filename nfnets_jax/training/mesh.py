"""The device mesh, and the one function that maps a per-device program over it.

The programming model is that of `jax.pmap`: a function is written for one device, sees its own
shard of the batch, and talks to the others through collectives over a named axis,
`jax.lax.pmean(x, 'data')`. It is spelled `jax.jit(jax.shard_map(...))`, so that the state is one
logical array without a leading device axis, and can be donated across processes.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

POPULATION = "population"
DATA = "data"
REPLICATED = PartitionSpec()
SHARDED = PartitionSpec(DATA)


def make_mesh(population: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arranges the devices of all processes in a (`population`, `data`) grid.

    Args:
      population: number of groups that train different members; the batch of each member is
        split over the remaining factor.
      devices: default all, in JAX's order.

    Raises:
      ValueError: if the number of devices is not a multiple of `population`.
    """
    devices = jax.devices() if devices is None else devices
    if len(devices) % population:
        raise ValueError(f"{len(devices)} devices do not divide into population={population}")
    return Mesh(np.asarray(devices).reshape(population, -1), (POPULATION, DATA))


def map_over_devices(
    function: Callable, mesh: Mesh, in_specs, out_specs, donate_argnums: Sequence[int] = ()
) -> Callable:
    """Compiles `function`, written for one device, to run on every device of the mesh.

    Outputs declared `REPLICATED` must be equal on all devices; make them so with collectives
    over `'data'`. Replication is not tracked (`check_vma=False`), so a gradient inside is the
    device's own until it is averaged, as under `jax.pmap`.
    """
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
    return jax.jit(mapped, donate_argnums=tuple(donate_argnums))


def sharding(mesh: Mesh, spec: PartitionSpec) -> NamedSharding:
    """The placement of an array with this partition on this mesh."""
    return NamedSharding(mesh, spec)


def must_block_each_step(mesh: Mesh) -> bool:
    """Whether a step has to finish before the next one is dispatched.

    Several virtual CPU devices share a thread pool; with more devices than cores, two steps in
    flight can wait for each other in the all-reduce rendezvous for ever (seen on JAX 0.10.2).
    """
    return mesh.devices.flat[0].platform == "cpu" and mesh.devices.size > 1


def mean_over_devices(tree):
    """Averages the floating-point leaves over the axis `'data'`; the others are equal already."""
    if jax.lax.axis_size(DATA) == 1:  # XLA would keep a collective of one device
        return tree
    leaves, treedef = jax.tree.flatten(tree)
    is_float = [jnp.issubdtype(x.dtype, jnp.floating) for x in leaves]
    # One call, so that the compiler can send all leaves in one message.
    means = iter(jax.lax.pmean([x for x, f in zip(leaves, is_float, strict=True) if f], DATA))
    return treedef.unflatten(
        [next(means) if f else x for x, f in zip(leaves, is_float, strict=True)])
