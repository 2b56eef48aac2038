"""Exact Gram matrices of per-example gradients, without holding all gradients."""

import concurrent.futures
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from nfnets_jax.analysis import per_example
from nfnets_jax.analysis.haiku_layers import Layer, Losses, find_layers
from nfnets_jax.analysis.per_example import at_least_float32
from nfnets_jax.training.mesh import DATA, REPLICATED, SHARDED, sharding

_BLOCK = 256  # rows of the blocks on the diagonal, of which both triangles are computed
_COLUMNS = 1024  # of gradients that are multiplied at a time, so that they stay in a CPU's cache
_PIECE = 2**27  # bytes of the gradients that a thread multiplies at a time
_THREADS = 2  # that work at the same time


class Part(NamedTuple):
    """Some of the parameters, and what is kept of the gradients with respect to them.

    Attributes:
      layer: whose parameters these are, or None.
      leaf: place of the parameter, where it belongs to no layer.
      start, stop: which of the leaf's elements.
      as_factors: whether the layer's inputs and gradients of its outputs are kept, which make up
        the gradients, and not these.
      size: numbers kept for each example.
    """

    layer: Layer | None
    leaf: int | None
    start: int
    stop: int
    as_factors: bool
    size: int


def gram(
    losses: Losses,
    params: Any,
    batch: Any,
    *,
    memory: int = 5 * 2**28,
    block_size: int | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Inner products of the gradients of all pairs of examples: G = J J^T, J the [N, P] gradients.

    Exact, in full float32 (float64 for such parameters), of any function. The layers of Haiku
    networks that `haiku_layers.find_layers` knows are fast: with input h_t and gradient of the
    output a_t at position t, example i's gradient of a kernel is sum_t h_it a_it^T. Of dense layers
    it is never made, (A A^T) o (H H^T + 1) is enough; of convolutions it is made some columns at a
    time. Of all other parameters it is `vmap(grad)`'s.

    Kept for all examples is the smaller of the two, gradients or their factors; what does not fit
    into `memory` waits for another pass over the examples. Only the upper triangle is computed.
    Convolutions within loops or `jax.checkpoint` are among the other parameters, and slow.

    Examples are independent: each is differentiated as a batch of one. With batch statistics there
    is no gradient of one example; let `losses` use the moving averages.

    Args:
      losses: `(params, batch) -> [N]`. It is part of the compiled program, which is found again for
        the same function; arrays that it needs besides should be bound by `jax.tree_util.Partial`.
      params: tree of float arrays.
      batch: tree of arrays with the leading axis N.
      memory: bytes to keep at a time on each device; more than that are needed for the pass itself.
      block_size: examples that are differentiated at a time; None chooses.
      mesh: to share the examples, and then the parameters, among the devices of its axis 'data'.
        N must be divisible by their number.

    Returns:
      [N, N], symmetric.

    Raises:
      ValueError: if the losses are not one for each example, or the devices do not divide N.
    """
    losses = as_partial(losses)
    leaves = jax.tree.leaves(params)
    count = len(jax.tree.leaves(batch)[0])
    devices = 1 if mesh is None else mesh.shape[DATA]
    if count % devices:
        raise ValueError(f"N={count} examples do not divide among the {devices} devices of the "
                         f"axis 'data'; use {count - count % devices}")
    local = count // devices
    place = None if mesh is None else sharding(mesh, SHARDED)
    batch = jax.device_put(batch, place)
    layers = find_layers(losses, params, batch)
    dtype = at_least_float32(jnp.result_type(*leaves))
    capacity = max(1, memory // (local * dtype.itemsize))
    block_size = min(local, block_size or choose_block_size(layers, leaves))
    shares = range(1 if mesh is not None else _THREADS)
    results = [jnp.zeros((devices * count, count), dtype, device=place) for _ in shares]
    for parts in _group(_parts(layers, leaves, capacity), capacity):
        program = dict(parts=parts, mesh=mesh)
        kept = _allocate(losses, params, batch, **program)
        # The last block begins earlier rather than be smaller.
        starts = [min(start, local - block_size) for start in range(0, local, block_size)]
        for i in range(0, len(starts), _THREADS):
            some = starts[i:i + _THREADS]
            differentiate = functools.partial(
                _differentiate, losses, params, batch, block_size=block_size, **program)
            blocks = _map_in_threads(differentiate, mesh, some)
            for start, block in zip(some, blocks, strict=True):
                kept = _write(kept, block, start, mesh=mesh)
        rows, factors = kept
        sums = [] if rows is None else [(None, rows)]
        sums += zip([part.layer for part in parts if part.as_factors], factors, strict=True)
        del kept, rows, factors
        while sums:
            layer, values = sums.pop(0)
            add = functools.partial(_add, values=values, leaves=leaves, layer=layer, mesh=mesh)
            results = _map_in_threads(add, mesh, results, shares)
            del add, values  # frees what was added
    return _finish(sum(results), devices=devices)


def as_partial(losses: Losses) -> jax.tree_util.Partial:
    """The function as a tree of its bound arrays, which a compiled program can be given."""
    return losses if isinstance(losses, jax.tree_util.Partial) else jax.tree_util.Partial(losses)


def _parts(layers: Sequence[Layer], leaves: Sequence[jax.Array], capacity: int) -> list[Part]:
    """All parameters, in pieces that fit into a capacity (numbers for each example) if they can."""
    of_layers = {i for layer in layers for i in layer.leaves}
    parts = []
    for i, leaf in enumerate(leaves):
        if i not in of_layers:
            pieces = -(-leaf.size // capacity)
            size = -(-leaf.size // pieces)
            for start in range(0, leaf.size, size):
                stop = min(start + size, leaf.size)
                parts.append(Part(None, i, start, stop, False, stop - start))
    for layer in layers:
        size = sum(leaves[i].size for i in layer.leaves)
        factors = math.prod(layer.inputs_shape) + math.prod(layer.outputs_shape)
        parts.append(Part(layer, None, 0, 0, factors < size, min(factors, size)))
    return parts


def _group(parts: Sequence[Part], capacity: int) -> list[tuple[Part, ...]]:
    """Consecutive parts in groups of similar size, each of about the capacity at most."""
    total = sum(part.size for part in parts)
    share = total / max(1, math.ceil(total / capacity))
    middles = itertools.accumulate(parts, lambda end, part: end + part.size, initial=0)
    groups = itertools.groupby(zip(middles, parts, strict=False),
                               lambda pair: (pair[0] + pair[1].size / 2) // share)
    return [tuple(part for _, part in group) for _, group in groups]


def choose_block_size(layers: Sequence[Layer], leaves: Sequence[jax.Array]) -> int:
    """Examples whose activations, gradients and copies of these take about 128 MiB."""
    of_layers = {i for layer in layers for i in layer.leaves}
    size = 3 * sum(math.prod(x.inputs_shape) + math.prod(x.outputs_shape) for x in layers)
    size += 2 * sum(leaf.size for i, leaf in enumerate(leaves) if i not in of_layers)
    return max(1, 2**25 // max(size, 1))


def _keep(losses, params, block, parts):
    """What is kept of the examples of a block.

    Returns:
      rows: gradients [B, n] of all parts that are not kept as factors; None if there are none.
      factors: (inputs, outputs_grad) of the others.
    """
    leaves = jax.tree.leaves(params)
    layers = [part.layer for part in parts if part.layer is not None]
    others = list(dict.fromkeys(part.leaf for part in parts if part.layer is None))
    factors, grads = per_example.backward(losses, params, block, layers, others)
    factors, grads = iter(factors), dict(zip(others, grads, strict=True))
    rows, kept = [], []
    for part in parts:
        if part.layer is None:
            grad = grads[part.leaf]
            rows.append(grad.reshape(len(grad), -1)[:, part.start:part.stop])
        elif part.as_factors:
            kept.append(next(factors))
        else:
            rows.append(per_example.layer_gradients(part.layer, leaves, *next(factors)))
    return jnp.concatenate(rows, 1) if rows else None, kept


@functools.partial(jax.jit, static_argnames=("parts", "mesh"))
def _allocate(losses, params, batch, *, parts, mesh):
    """Zeros for what is kept of all examples."""
    count = len(jax.tree.leaves(batch)[0])
    one = jax.tree.map(lambda x: x[:1], batch)
    shapes = jax.eval_shape(functools.partial(_keep, parts=parts), losses, params, one)
    zeros = jax.tree.map(lambda x: jnp.zeros((count, *x.shape[1:]), x.dtype), shapes)
    if mesh is None:
        return zeros
    return jax.lax.with_sharding_constraint(zeros, sharding(mesh, SHARDED))


@functools.partial(jax.jit, static_argnames=("block_size", "parts", "mesh"))
def _differentiate(losses, params, batch, start, *, block_size, parts, mesh):
    """What is kept of one block of examples."""

    def differentiate(losses, params, batch, start):
        block = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, block_size), batch)
        return _keep(losses, params, block, parts)

    return _map(differentiate, mesh, (REPLICATED, REPLICATED, SHARDED, REPLICATED))(
        losses, params, batch, start)


@functools.partial(jax.jit, static_argnames="mesh", donate_argnums=0)
def _write(kept, block, start, *, mesh):
    """Puts what is kept of a block into its place."""

    def write(kept, block, start):
        return jax.tree.map(
            lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, start, 0), kept, block)

    return _map(write, mesh, (SHARDED, SHARDED, REPLICATED))(kept, block, start)


def _map_in_threads(function, mesh, *arguments):
    """`list(map(function, *arguments))`, at the same time if there is no mesh.

    Programs of many small products keep no more than some of a CPU's cores at work.
    """
    if mesh is not None:
        # Virtual devices that share threads must not wait for each other for ever.
        return [jax.block_until_ready(function(*x)) for x in zip(*arguments, strict=True)]
    has_float64 = jax.config.jax_enable_x64  # of this thread

    def call(*x):
        with jax.enable_x64(has_float64):
            return jax.block_until_ready(function(*x))

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(call, *arguments))


@functools.partial(jax.jit, static_argnames=("layer", "mesh"), donate_argnums=0)
def _add(result, share, *, values, leaves, layer, mesh):
    """Adds products of gradients [N, n], or of those of a layer, each device some of them.

    Without a mesh these are one thread's: `share` counts the threads.
    """
    axis = None if mesh is None or mesh.shape[DATA] == 1 else DATA
    shares = (share, 1 if mesh is not None else _THREADS)

    def add(result, values, leaves):
        if layer is None:
            return result + _of_gradients(values, axis, shares)
        if _has_few_positions(layer):
            return _add_first(result, shares, lambda: _of_positions(layer, *values, axis))
        return _add_in_pieces(result, layer, leaves, *values, axis, shares)

    return _map(add, mesh, (SHARDED, SHARDED, REPLICATED))(result, values, leaves)


def _add_first(result, shares, function):
    """Adds what the first thread alone computes."""
    if shares[1] == 1:
        return result + function()
    return jax.lax.cond(shares[0] == 0, lambda: result + function(), lambda: result)


def _loop(count, shares, body, result):
    """A loop over those of `count` turns that belong to a thread."""
    share, num_shares = shares
    return jax.lax.fori_loop(0, (count - share + num_shares - 1) // num_shares,
                             lambda k, result: body(num_shares * k + share, result), result)


def _has_few_positions(layer: Layer) -> bool:
    """Whether products of all pairs of positions are fewer than the elements of the gradient."""
    size, channels = math.prod(layer.kernel_shape[:3]), layer.kernel_shape[3]
    positions = math.prod(layer.outputs_shape[:2])
    return (layer.groups == 1 and layer.standardization is None
            and positions**2 * (size + channels) < size * channels)


def _of_gradients(rows, axis, shares):
    """The products of gradients [N, n]; of several devices each takes a share of the columns."""
    if axis is not None:
        rows = jnp.pad(rows, ((0, 0), (0, -rows.shape[1] % jax.lax.axis_size(axis))))
        rows = jax.lax.all_to_all(rows, axis, split_axis=1, concat_axis=0, tiled=True)
    count, size = rows.shape

    def multiply(columns):
        return _upper(0, count, lambda i, j: _multiply(columns[i], columns[j]))

    whole = size // _COLUMNS
    total = _add_first(jnp.zeros((count, count), at_least_float32(rows.dtype)), shares,
                       lambda: multiply(rows[:, whole * _COLUMNS:]))
    if whole:
        total = _loop(whole, shares, lambda k, total: total + multiply(
            jax.lax.dynamic_slice_in_dim(rows, k * _COLUMNS, _COLUMNS, 1)), total)
    return total


def _of_positions(layer, inputs, outputs_grad, axis):
    """sum_ts (<h_it, h_js> + 1) <a_it, a_js>, with the 1 if there is a bias."""
    h = jax.vmap(lambda x: per_example.patches(layer, x))(inputs)
    if layer.bias is not None:
        h = jnp.concatenate([h, jnp.ones((*h.shape[:2], 1), h.dtype)], -1)
    a = outputs_grad.reshape(*h.shape[:2], -1)

    def multiply(rows, columns):
        products = math.prod(_multiply(x.reshape(-1, x.shape[2]), y.reshape(-1, y.shape[2]))
                             for x, y in zip(rows, columns, strict=True))
        positions = h.shape[1]
        return jnp.sum(products.reshape(-1, positions, len(columns[0]), positions), (1, 3))

    if axis is None:
        return _upper(0, len(h), lambda i, j: multiply((h[i], a[i]), (h[j], a[j])))
    every = jax.lax.all_gather((h, a), axis, tiled=True)
    total = len(every[0])
    return jax.lax.dynamic_update_slice_in_dim(
        jnp.zeros((total, total), at_least_float32(h.dtype)), multiply((h, a), every),
        jax.lax.axis_index(axis) * len(h), 0)


def _add_in_pieces(result, layer, leaves, inputs, outputs_grad, axis, shares):
    """Makes the gradients of some columns at a time, and multiplies them."""
    kh, kw, width, channels = layer.kernel_shape
    offsets = 1 if layer.standardization is not None else kh * kw
    size = kh * kw // offsets * width * layer.groups * len(inputs)
    limit = max(1, _PIECE // (size * result.dtype.itemsize))
    per_group = channels // layer.groups
    columns = max(n for n in range(1, per_group + 1) if per_group % n == 0 and n <= limit)

    def add_piece(k, result):
        start, offset = k // offsets * columns, k % offsets

        def gradient(x):
            if offsets > 1:
                return per_example.offset_gradient(
                    layer, per_example.pad(layer, x[0]), x[1], offset, start, columns)
            return per_example.kernel_gradient(layer, leaves, *x, start, columns)

        rows = jax.lax.map(
            gradient, (inputs, outputs_grad), batch_size=per_example.EXAMPLES_AT_A_TIME)
        return result + _of_gradients(rows, axis, (0, 1))

    if layer.bias is not None:
        result += _of_gradients(jax.vmap(per_example.bias_gradient)(outputs_grad), axis, shares)
    return _loop(offsets * per_group // columns, shares, add_piece, result)


@functools.partial(jax.jit, static_argnames="devices")
def _finish(result, *, devices):
    """The sum over devices of upper triangles, and below them the same."""
    upper = jnp.triu(jnp.sum(result.reshape(devices, -1, result.shape[1]), 0))
    return upper + jnp.triu(upper, 1).T


def _upper(start, stop, multiply):
    """A symmetric matrix, right on and above the diagonal.

    Args:
      start, stop: first row, and the one after the last.
      multiply: (rows, columns) as slices -> that block.
    """
    if stop - start <= _BLOCK:
        return multiply(slice(start, stop), slice(start, stop))
    middle = (start + stop) // 2
    right = multiply(slice(start, middle), slice(middle, stop))
    return jnp.block([[_upper(start, middle, multiply), right],
                      [jnp.zeros_like(right.T), _upper(middle, stop, multiply)]])


def _multiply(rows, columns):
    """rows columns^T, in full float32 at least."""
    return jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST,
                      preferred_element_type=at_least_float32(rows.dtype))


def _map(function, mesh, in_specs):
    if mesh is None:
        return function
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=SHARDED, check_vma=False)
