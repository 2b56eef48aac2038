"""Applies a run of identical blocks as one loop, so that only one of them is compiled."""

from collections.abc import Callable, Mapping, Sequence

import haiku as hk
import jax
import jax.numpy as jnp

# (name, **what differs from block to block) -> block
MakeBlock = Callable[..., Callable[[jax.Array, bool], jax.Array]]


def apply_scanned(
    make_block: MakeBlock,
    names: Sequence[str],
    differing: Mapping[str, Sequence[float]],
    x: jax.Array,
    is_training: bool,
) -> jax.Array:
    """Applies blocks that differ only in their parameters and in some numbers, in order.

    The parameters are those of the unrolled network, each block's under a name of its own: they
    are stacked when the network is applied, which copies them once a step. To be called inside
    `hk.transform`, not while parameters are initialised. The blocks have no state.

    Args:
      make_block: called as `make_block(name=..., **numbers)`, gives a block that maps
        (x, is_training) to an array of the shape and dtype of `x`.
      names: full module names of the blocks in the surrounding transform.
      differing: name of an argument of `make_block` to its value for each block.
      x: input of the first block.
      is_training: passed to each block.

    Returns:
      The output of the last block.
    """
    params = hk.get_params()
    block_params = [
        {"block" + module[len(name):]: values for module, values in params.items()
         if module == name or module.startswith(f"{name}/")}
        for name in names
    ]
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *block_params)
    numbers = {name: jnp.asarray(values, jnp.float32) for name, values in differing.items()}
    keys = jax.random.split(hk.next_rng_key(), len(names)) if is_training else None

    def one_block(x, values):
        return make_block(name="block", **values)(x, is_training)

    apply = hk.transform(one_block).apply

    def body(x, inputs):
        params, values, key = inputs
        return apply(params, key, x, values), None

    return jax.lax.scan(body, x, (stacked, numbers, keys))[0]
