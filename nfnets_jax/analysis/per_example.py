"""Gradients of the loss of each example, and the layers that have a short form of them.

The gradient of a matrix or of a kernel is a sum over positions of products of two vectors, the
layer's input and the gradient of its output. One backward pass gives both for all examples of a
batch, so that gradients can be made from them a few at a time, or not at all.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jax.extend.core import Literal, get_opaque_trace_state

from nfnets_jax.nets import heads
from nfnets_jax.nets.conv import Conv2D, symmetric_padding
from nfnets_jax.nets.weight_standardization import WSConv2D, standardize

EXAMPLES_AT_A_TIME = 8  # whose gradients are made out of factors
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

        with _calls_of_layers(leaves, lambda _: True, on_call):
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


def backward(
    losses: Losses, params: Any, batch: Any, layers: Sequence[Layer], leaves: Sequence[int] = (),
) -> tuple[list[tuple[jax.Array, jax.Array]], list[jax.Array]]:
    """One backward pass for each example of a batch, in one program.

    Args:
      losses: of examples; each is called with a batch of one, so that norms must use moving
        averages.
      params: tree.
      batch: tree of arrays [B, ...].
      layers: some of those that `find_layers` found.
      leaves: places of parameters that belong to none of them.

    Returns:
      factors: for each layer its input [B, C, H, W], in the order in which products are fast, and
        the gradient of its output [B, H_out, W_out, C_out].
      gradients: for each of `leaves` its gradient [B, ...].
    """
    values, treedef = jax.tree.flatten(params)
    by_kernel = {layer.kernel: i for i, layer in enumerate(layers)}
    constants = {i for layer in layers for i in layer.leaves}

    def loss(taps, wanted, example):
        current = list(values)
        for i, value in zip(leaves, wanted, strict=True):
            current[i] = value
        inputs_of = [None] * len(layers)

        def on_call(call, used, inputs, outputs):
            index = by_kernel.get(used[0]) if call else None
            if index is None:
                return outputs
            inputs_of[index] = inputs.reshape(layers[index].inputs_shape).transpose(2, 0, 1)
            return outputs + taps[index]

        with _calls_of_layers(current, constants.__contains__, on_call):
            return losses(treedef.unflatten(current), example)[0], inputs_of

    def backward_one(example):
        example = jax.tree.map(lambda x: x[None], example)
        taps = [jnp.zeros(layer.tap_shape, layer.dtype) for layer in layers]
        wanted = [values[i] for i in leaves]
        (outputs_grads, grads), inputs_of = jax.grad(loss, argnums=(0, 1), has_aux=True)(
            taps, wanted, example)
        factors = [(x, grad.reshape(layer.outputs_shape)) for x, grad, layer in
                   zip(inputs_of, outputs_grads, layers, strict=True)]
        return factors, grads

    return jax.vmap(backward_one)(batch)


def gradients(losses: Losses, params: Any, batch: Any, layers: Sequence[Layer]) -> jax.Array:
    """The gradients of all parameters for each example of a batch: [B, P], in one program.

    The parameters are in the order of the leaves that belong to no layer, then of the layers.

    Args:
      losses, params, batch, layers: as for `backward`.
    """
    leaves = jax.tree.leaves(params)
    of_layers = {i for layer in layers for i in layer.leaves}
    others = [i for i in range(len(leaves)) if i not in of_layers]
    factors, grads = backward(losses, params, batch, layers, others)
    rows = [grad.reshape(len(grad), -1) for grad in grads]
    rows += [layer_gradients(layer, leaves, *x) for layer, x in zip(layers, factors, strict=True)]
    return jnp.concatenate(rows, 1)


def patches(layer: Layer, inputs: jax.Array) -> jax.Array:
    """What one example's output is made of at each position: [positions, kh kw C], no groups."""
    windows = [_window(layer, inputs, i, j) for i in range(layer.kernel_shape[0])
               for j in range(layer.kernel_shape[1])]
    return jnp.concatenate(windows).T


def offset_gradient(
    layer: Layer, inputs: jax.Array, outputs_grad: jax.Array, offset: jax.Array,
    start: jax.Array | int = 0, columns: int | None = None,
) -> jax.Array:
    """Part of one example's gradient of the kernel that convolves: [C / groups, groups columns].

    Args:
      layer: see `Layer`.
      inputs: [C, H, W].
      outputs_grad: [H_out, W_out, C_out].
      offset: place in the kernel's kh kw.
      start: first output of each group.
      columns: outputs of each group; None for all.
    """
    window = _window(layer, inputs, offset // layer.kernel_shape[1],
                     offset % layer.kernel_shape[1])
    positions = window.shape[1]
    window = window.reshape(layer.groups, -1, positions)
    grads = outputs_grad.reshape(positions, layer.groups, -1)
    if columns is not None:
        grads = jax.lax.dynamic_slice_in_dim(grads, start, columns, 2)
    product = jnp.einsum("gct,tgo->cgo", window, grads, precision=jax.lax.Precision.HIGHEST,
                         preferred_element_type=at_least_float32(window.dtype))
    return product.reshape(len(product), -1)


def kernel_gradient(
    layer: Layer, leaves: Sequence[jax.Array], inputs: jax.Array, outputs_grad: jax.Array,
    start: jax.Array | int = 0, columns: int | None = None,
) -> jax.Array:
    """One example's gradient of the kernel, and of the gain if there is one, as a vector.

    Args:
      layer: see `Layer`.
      leaves: the parameters.
      inputs, outputs_grad, start, columns: as for `offset_gradient`; what belongs to other outputs
        is left out.
    """
    kh, kw, _, channels = layer.kernel_shape
    columns = columns or channels // layer.groups
    # A loop, because a program of all elements takes several times as long to compile.
    grad = jax.lax.map(lambda offset: offset_gradient(
        layer, inputs, outputs_grad, offset, start, columns), jnp.arange(kh * kw))
    grad = grad.reshape(-1, grad.shape[-1])
    if layer.standardization is None:
        return grad.reshape(-1)

    def outputs_of(x):
        grouped = x.reshape(-1, layer.groups, channels // layer.groups)
        return jax.lax.dynamic_slice_in_dim(grouped, start, columns, 2).reshape(len(grouped), -1)

    gamma, eps_mode, eps = layer.standardization
    kernel = outputs_of(leaves[layer.kernel])
    gain = jnp.ones(grad.shape[-1]) if layer.gain is None else outputs_of(leaves[layer.gain])[0]
    _, pull_back = jax.vjp(lambda w, g: standardize(w, gamma * g, eps_mode, eps), kernel, gain)
    kernel_grad, gain_grad = pull_back(grad.astype(kernel.dtype))
    return jnp.concatenate([kernel_grad.reshape(-1)] + [gain_grad] * (layer.gain is not None))


def layer_gradients(
    layer: Layer, leaves: Sequence[jax.Array], inputs: jax.Array, outputs_grad: jax.Array,
) -> jax.Array:
    """Each example's gradient of all parameters of a layer: [B, n], from `backward`'s factors."""

    def gradient(x):
        grads = [kernel_gradient(layer, leaves, *x)]
        if layer.bias is not None:
            grads.append(bias_gradient(x[1]))
        return jnp.concatenate(grads)

    return jax.lax.map(gradient, (inputs, outputs_grad), batch_size=EXAMPLES_AT_A_TIME)


def bias_gradient(outputs_grad: jax.Array) -> jax.Array:
    """One example's gradient of the bias: [C_out]."""
    return jnp.sum(outputs_grad, (0, 1), at_least_float32(outputs_grad.dtype))


def at_least_float32(dtype: Any) -> Any:
    """The dtype in which products are summed."""
    return jnp.promote_types(dtype, jnp.float32)


def _window(layer, inputs, i, j):
    """What the kernel's element (i, j) is multiplied with at each position: [C, positions]."""
    size = [(n - 1) * s + 1 for n, s in zip(layer.outputs_shape, layer.stride, strict=False)]
    padded = jnp.pad(inputs, ((0, 0), *layer.pads))
    window = jax.lax.dynamic_slice(padded, (0, i, j), (len(inputs), *size))
    return window[:, ::layer.stride[0], ::layer.stride[1]].reshape(len(inputs), -1)


@contextlib.contextmanager
def _calls_of_layers(leaves, is_constant, on_call) -> Iterator[None]:
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
