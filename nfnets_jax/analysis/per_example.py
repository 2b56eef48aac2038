"""Gradients of the loss of each example, and the factors that those of many layers are made of.

The gradient of a matrix or of a kernel is a sum over positions of products of two vectors, the
layer's input and the gradient of its output. One backward pass gives both for all examples of a
batch, so that gradients can be made from them a few at a time, or not at all.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nfnets_jax.analysis.haiku_layers import Layer, Losses, calls_of_layers
from nfnets_jax.nets.weight_standardization import standardize

EXAMPLES_AT_A_TIME = 8  # whose gradients are made out of factors


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
      factors: for each layer its input [B, H, W, C] and the gradient of its output
        [B, H_out, W_out, C_out].
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
            inputs_of[index] = inputs.reshape(layers[index].inputs_shape)
            return outputs + taps[index]

        with calls_of_layers(current, constants.__contains__, on_call):
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

    The parameters are those of the leaves that belong to no layer, then those of the layers; for
    their order within a kernel see `kernel_gradient`.

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
    padded, size = pad(layer, inputs), math.prod(layer.kernel_shape[:2])
    positions = math.prod(layer.outputs_shape[:2])

    # A loop, because a program of all elements takes several times as long to compile.
    def add(offset, result):
        return result.at[:, offset].set(_window(layer, padded, offset))

    result = jnp.zeros((positions, size, padded.shape[2]), inputs.dtype)
    return jax.lax.fori_loop(0, size, add, result).reshape(positions, -1)


def pad(layer: Layer, inputs: jax.Array) -> jax.Array:
    """One example's input [H, W, C] with the zeros that the convolution sees around it."""
    return jnp.pad(inputs, (*layer.pads, (0, 0)))


def offset_gradient(
    layer: Layer, padded: jax.Array, outputs_grad: jax.Array, offset: jax.Array,
    start: jax.Array | int = 0, columns: int | None = None,
) -> jax.Array:
    """One example's gradient of one of the kernel's kh kw matrices, as a vector.

    Args:
      layer: see `Layer`.
      padded: see `pad`.
      outputs_grad: [H_out, W_out, C_out].
      offset: place in the kernel's kh kw.
      start: first output of each group.
      columns: outputs of each group; None for all.
    """
    window = _window(layer, padded, offset)
    return _multiply(layer, window[:, None], outputs_grad, start, columns).reshape(-1)


def kernel_gradient(
    layer: Layer, leaves: Sequence[jax.Array], inputs: jax.Array, outputs_grad: jax.Array,
    start: jax.Array | int = 0, columns: int | None = None,
) -> jax.Array:
    """One example's gradient of the kernel, and of the gain if there is one, as a vector.

    The order is that in which products are fast: outputs, elements kh kw, inputs for a kernel
    without weight standardization, and the leaf's for one with it.

    Args:
      layer: see `Layer`.
      leaves: the parameters.
      inputs: [H, W, C].
      outputs_grad, start, columns: as for `offset_gradient`; what belongs to other outputs is left
        out.
    """
    kh, kw, _, channels = layer.kernel_shape
    columns = columns or channels // layer.groups
    windows = patches(layer, inputs).reshape(-1, kh * kw, inputs.shape[2])
    grad = _multiply(layer, windows, outputs_grad, start, columns)
    if layer.standardization is None:
        return grad.reshape(-1)
    grad = grad.transpose(2, 3, 0, 1).reshape(-1, layer.groups * columns)

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


def _window(layer, padded, offset):
    """What one of the kernel's kh kw matrices is multiplied with at each position: [T, C]."""
    channels, width = padded.shape[2], layer.kernel_shape[1]
    size = [(n - 1) * s + 1 for n, s in zip(layer.outputs_shape, layer.stride, strict=False)]
    window = jax.lax.dynamic_slice(
        padded, (offset // width, offset % width, 0), (*size, channels))
    return window[::layer.stride[0], ::layer.stride[1]].reshape(-1, channels)


def _multiply(layer, windows, outputs_grad, start, columns):
    """Sum over positions of gradients times inputs [T, K, C]: [groups, columns, K, C / groups]."""
    positions, size, _ = windows.shape
    windows = windows.reshape(positions, size, layer.groups, -1)
    grads = outputs_grad.reshape(positions, layer.groups, -1)
    if columns is not None:
        grads = jax.lax.dynamic_slice_in_dim(grads, start, columns, 2)
    return jnp.einsum("tgo,tkgc->gokc", grads, windows, precision=jax.lax.Precision.HIGHEST,
                      preferred_element_type=at_least_float32(windows.dtype))
