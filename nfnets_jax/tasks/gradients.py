"""Gradients of a batch that is taken in slices, and the strength of their noise."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nfnets_jax.analysis import sgd_noise


def mean_over_slices(
    function: Callable[[Any, Any], tuple[Any, Any]], carry: Any, batch: Any, num_slices: int
) -> tuple[Any, Any]:
    """Applies a function to one slice of a batch after the other and averages what it returns.

    Args:
      function: `(carry, (number of the slice, slice)) -> (carry, output)`.
      carry: of the first slice.
      batch: tree of arrays [N, ...]; each slice has N / num_slices examples.
      num_slices: 1 applies the function to the batch itself.

    Returns:
      The last carry, and the mean of the outputs; only one slice is in memory at a time.
    """
    slices = jax.tree.map(lambda x: x.reshape(num_slices, -1, *x.shape[1:]), batch)
    if num_slices == 1:
        return function(carry, (0, jax.tree.map(lambda x: x[0], slices)))
    inputs = (jnp.arange(num_slices), slices)
    shapes = jax.eval_shape(function, carry, jax.tree.map(lambda x: x[0], inputs))[1]

    def body(state, x):
        carry, total = state
        carry, output = function(carry, x)
        return (carry, jax.tree.map(jnp.add, total, output)), None

    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (carry, total), _ = jax.lax.scan(body, (carry, zeros), inputs)
    return carry, jax.tree.map(lambda x: x / num_slices, total)


def temperature_of(
    config: Mapping[str, Any], schedule: optax.Schedule
) -> Callable[[Any], jax.Array] | None:
    """`state -> temperature` of SGD with a momentum; None for the optimizers that have none.

    Args:
      config: checked.
      schedule: step to a factor of `state.hyper['learning_rate']`.
    """
    if config["optimizer"]["momentum"] is None:
        return None
    return lambda state: sgd_noise.temperature(
        state.hyper["learning_rate"] * schedule(state.step), state.hyper["momentum"],
        config["batch_size"])
