"""The layers of a Haiku network whose gradients for one example have a short form.

The gradient of a matrix or of a kernel is a sum over positions of products of two vectors, the
layer's input and the gradient of its output; see `analysis.per_example`.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import haiku as hk
import jax
from jax.extend.core import Literal, get_opaque_trace_state

from nfnets_jax.nets import heads
from nfnets_jax.nets.conv import Conv2D, symmetric_padding
from nfnets_jax.nets.weight_standardization import WSConv2D

_SMALL = 2**26  # multiply-adds of a layer's gradients that do not make up for longer compilation

# (params, batch) -> the loss of each example [N]; batch is a tree of arrays with the leading axis N
Losses = Callable[[Any, Any], jax.Array]


class Layer(NamedTuple):
    """A dense or convolutional layer that is called once, and whose parameters nothing else uses.

    A dense layer is a convolution with a 1 x 1 kernel of an image of size [positions, 1].

    Attributes:
      kernel, bias, gain: place of the parameter among the leaves; None for a parameter that the
        layer does not have.
      kernel_shape: HWIO.
      inputs_shape: of one example, [H, W, C].
      outputs_shape: of one example, [H_out, W_out, C_out].
      tap_shape: of one example's output as the layer returns it.
      dtype: of the output.
      stride, pads: for both directions.
      groups: that the channels are divided into.
      standardization: (gamma, eps_mode, eps) of weight standardization; None for none.
    """

    kernel: int
    bias: int | None
    gain: int | None
    kernel_shape: tuple[int, int, int, int]
    inputs_shape: tuple[int, int, int]
    outputs_shape: tuple[int, int, int]
    tap_shape: tuple[int, ...]
    dtype: Any
    stride: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    groups: int
    standardization: tuple[float, str, float] | None

    @property
    def leaves(self) -> tuple[int, ...]:
        """Places of all parameters."""
        return tuple(i for i in (self.kernel, self.bias, self.gain) if i is not None)


def find_layers(losses: Losses, params: Any, batch: Any) -> tuple[Layer, ...]:
    """The layers of a Haiku network whose gradients have a short form, in the order of their calls.

    These are `hk.Linear`, `hk.Conv2D` and those of this library. A parameter that is used twice, or
    inside of a loop, or changed before it reaches its layer, is of none of them; nor is one of a
    layer so small that the short form would take longer to compile than it saves. Nothing is
    computed. A function without Haiku has no layers.

    Raises:
      ValueError: unless the losses of a batch of one example are an array [1].
    """
    leaves, treedef = jax.tree.flatten(params)
    calls: list[tuple[list[int | None], Layer | None]] = []

    def loss(leaves, scale, example):
        def on_call(call, used, inputs, outputs):
            calls.append((used, call and _describe(call, used, leaves, inputs, outputs)))
            return outputs

        with calls_of_layers(leaves, lambda _: True, on_call):
            values = losses(treedef.unflatten(leaves), example)
        if values.shape != (1,):
            raise ValueError(f"the losses of a batch of one example have the shape "
                             f"{list(values.shape)}, not [1]; return the loss of each example")
        return scale * values[0]

    example = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), batch)
    # Layers' parameters are constants here. What is left of a gradient is that of other uses, and
    # depends at least on the scale; otherwise it is a zero that depends on nothing.
    used_elsewhere = _depend_on_inputs(jax.make_jaxpr(jax.grad(loss))(leaves, 1.0, example).jaxpr)
    uses = [leaf for used, _ in calls for leaf in used]
    count = len(jax.tree.leaves(batch)[0])
    return tuple(
        layer for _, layer in calls if layer is not None
        and all(uses.count(i) == 1 and not used_elsewhere[i] for i in layer.leaves)
        and count * math.prod(layer.outputs_shape[:2]) * leaves[layer.kernel].size > _SMALL)


@contextlib.contextmanager
def calls_of_layers(leaves, is_constant, on_call) -> Iterator[None]:
    """Calls `on_call` for each call of a layer in this block, with what the layer returned.

    `on_call(call, used, inputs, outputs)` returns what the layer returns instead. `used` are the
    places of the layer's parameters among the leaves, None for one that is not a leaf; `call` says
    what `_read` found, and is None where the layer cannot be told from outside. No gradient
    reaches the leaves of which `is_constant` is true through a layer.
    """
    place_of = {id(leaf): i for i, leaf in enumerate(leaves)}
    trace = get_opaque_trace_state()

    def intercept(next_method: Callable, args: tuple, kwargs: dict, context: hk.MethodContext):
        call = context.method_name == "__call__" and len(args) > 0 and _read(
            context.module, args[0])
        # The inputs of a layer in a loop exist there alone.
        if not call or get_opaque_trace_state() != trace:
            return next_method(*args, **kwargs)
        used: list[int | None] = []

        def getter(next_getter, value, _):
            value = next_getter(value)
            place = place_of.get(id(value))
            used.append(place)
            if place is not None and is_constant(place):
                return jax.lax.stop_gradient(value)
            return value

        with hk.custom_getter(getter):
            outputs = next_method(*args, **kwargs)
        return on_call(None if None in used else call, used, args[0], outputs)

    with hk.intercept_methods(intercept):
        yield


def _read(module: hk.Module, inputs: jax.Array) -> dict[str, Any] | None:
    """What a layer of a known kind does to its inputs; None for every other module."""
    kind = type(module)  # a class derived from it may do anything
    if kind in (hk.Linear, heads.Linear):
        standardized = getattr(module, "weight_standardization", False)
        return dict(bias=module.with_bias, standardization=(1.0, "clamp", 1e-4) if standardized
                    else None)
    if kind not in (Conv2D, WSConv2D, hk.Conv2D) or inputs.ndim != 4 or len(inputs) != 1:
        return None
    if kind is hk.Conv2D:
        plain = (module.mask is None and module.data_format == "NHWC"
                 and module.kernel_dilation == module.lhs_dilation == (1, 1))
        return dict(bias=module.with_bias, stride=module.stride, padding=module.padding,
                    groups=module.feature_group_count) if plain else None
    call = dict(bias=module.with_bias, stride=(module.stride,) * 2, groups=module.groups)
    if kind is WSConv2D:
        call |= dict(
            gain=module.with_gain,
            standardization=(module.gamma, module.eps_mode, module.eps),
            padding="SAME" if module.padding == "same"
            else symmetric_padding(module.kernel_size, module.stride))
    return call


def _describe(call, used, leaves, inputs, outputs) -> Layer:
    # The order in which all these layers ask for their parameters is kernel, gain, bias.
    places = iter(used)
    kernel = next(places)
    gain = next(places) if call.get("gain") else None
    bias = next(places) if call["bias"] else None
    shape = leaves[kernel].shape
    stride = tuple(call.get("stride", (1, 1)))
    if len(shape) == 2:
        shape, pads = (1, 1, *shape), ((0, 0), (0, 0))
        positions = inputs.size // shape[2]
        image, output = (positions, 1, shape[2]), (positions, 1, shape[3])
    else:
        image, output = inputs.shape[1:], outputs.shape[1:]
        pads = call.get("padding", "SAME")
        if isinstance(pads, str):
            pads = jax.lax.padtype_to_pads(image[:2], shape[:2], stride, pads)
    return Layer(kernel, bias, gain, shape, image, output, outputs.shape, outputs.dtype, stride,
                 tuple(map(tuple, pads)), call.get("groups", 1), call.get("standardization"))


def _depend_on_inputs(jaxpr) -> list[bool]:
    """Whether each output of a program depends on any of its inputs."""
    variables = set(jaxpr.invars)

    def depends(atom):
        return not isinstance(atom, Literal) and atom in variables

    for equation in jaxpr.eqns:
        if any(map(depends, equation.invars)):
            variables.update(equation.outvars)
    return [depends(atom) for atom in jaxpr.outvars]
