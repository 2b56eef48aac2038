"""Applies identical blocks as one loop, so that only one of them is compiled."""

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


def apply_stacked(
    block: Callable[[jax.Array], jax.Array], count: int, x: jax.Array, name: str
) -> jax.Array:
    """Applies a block `count` times, each time with parameters and state of its own, as one loop.

    To be called inside `hk.transform_with_state`, also while parameters are initialised. They are
    kept stacked: arrays with a leading axis for the blocks. `hk.layer_stack` does the same, but
    its initial state has already seen the images of the initialisation, which would stay in the
    moving averages of batch statistics.

    Args:
      block: creates modules and applies them, without random numbers of its own; the output has
        the shape and dtype of the input.
      count: number of blocks.
      x: input of the first block.
      name: what the names of the block's modules are prefixed with.

    Returns:
      The output of the last block.
    """
    init, apply = hk.transform_with_state(block)

    def init_stacked(key, x):
        def init_one(x, key):
            params, state = init(key, x)
            return apply(params, state, None, x)[0], (params, state)

        return jax.lax.scan(init_one, x, jax.random.split(key, count))[1]

    params_and_state, updater = hk.lift_with_state(init_stacked, name=name)
    key = hk.next_rng_key() if hk.running_init() else None
    stacked = params_and_state(key, x)
    x, state = jax.lax.scan(lambda x, values: apply(*values, None, x), x, stacked)
    updater.update(state)
    return x
