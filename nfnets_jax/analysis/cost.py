"""The size of a network: its parameters, and the multiply-adds of one image."""

import math
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp


def _abstract(network: hk.TransformedWithState, images: jax.ShapeDtypeStruct) -> tuple:
    def init(key: jax.Array, images: jax.Array) -> tuple:
        return network.init(key, images, is_training=True)

    return jax.eval_shape(init, jax.random.key(0), images)


def parameter_count(network: hk.TransformedWithState, image_shape: tuple[int, int, int]) -> int:
    """Number of trained parameters.

    Args:
      network: transformed function of (images, is_training).
      image_shape: (height, width, channels); only the channels matter to a convolutional network.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return hk.data_structures.tree_size(_abstract(network, images)[0])


def multiply_adds(network: hk.TransformedWithState, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of the convolutions and matrix products in a forward pass of one image.

    This is what the papers of this field call FLOPs. It is counted in the traced program, so that
    it holds for any network; products with zero padding count, elementwise operations do not.

    Args:
      network: transformed function of (images, is_training).
      image_shape: (height, width, channels).
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    params, state = _abstract(network, images)

    def forward(params, state, images):
        return network.apply(params, state, None, images, is_training=False)[0]

    return _count(jax.make_jaxpr(forward)(params, state, images).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            out_features = equation.params["dimension_numbers"].rhs_spec[0]
            total += equation.outvars[0].aval.size * math.prod(kernel) // kernel[out_features]
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        inner = [_count(program) for program in _inner_programs(equation.params)]
        # The branches of a choice are alternatives.
        total += max(inner) if equation.primitive.name == "cond" else repeats * sum(inner)
    return total


def _inner_programs(params: dict[str, Any]) -> list[Any]:
    """The programs inside an equation: those of calls, loops and custom derivatives."""
    programs = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "jaxpr"):  # closed
                programs.append(item.jaxpr)
            elif hasattr(item, "eqns"):
                programs.append(item)
    return programs
