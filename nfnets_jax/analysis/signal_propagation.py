"""Signal propagation at initialization (Brock et al. 2021, arXiv 2101.08692, section 3)."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.nets.layers import TAGS, Tag

ModulePredicate = Callable[[hk.Module], bool]

_PREDICATES = {"stem": "is_stem", "residual_branch": "is_residual_branch",
               "block_output": "is_block"}


def average_squared_mean(value: jax.Array) -> jax.Array:
    """Squared mean of each channel over all other axes, averaged over channels; float32 scalar."""
    axes = tuple(range(value.ndim - 1))
    return jnp.mean(jnp.square(jnp.mean(value, axes, jnp.float32)))


def average_variance(value: jax.Array) -> jax.Array:
    """Biased variance of each channel over all other axes, averaged over channels; float32."""
    axes = tuple(range(value.ndim - 1))
    return jnp.mean(jnp.var(value, axes, jnp.float32))


def with_unit_skip_gain(params: hk.Params) -> hk.Params:
    """Returns the parameters with every `skip_gain` set to 1.

    At their initial value of 0 the branches of normalizer-free and SkipInit networks add nothing,
    and there is no propagation through them to measure.
    """
    return hk.data_structures.map(
        lambda module_name, name, value: jnp.ones_like(value) if name == "skip_gain" else value,
        params,
    )


def measure(
    network: hk.TransformedWithState,
    params: hk.Params,
    state: hk.State,
    images: jax.Array,
    *,
    rng: jax.Array | None = None,
    is_block: ModulePredicate | None = None,
    is_residual_branch: ModulePredicate | None = None,
    is_stem: ModulePredicate | None = None,
) -> dict[str, np.ndarray]:
    """Measures the three quantities of a signal propagation plot in one forward pass.

    Where they are measured is marked by `nets.tag` inside a network, or, for a network without
    tags, selected by predicates on its modules: the output of a selected module is measured.
    The pass is that of a test, without dropout and stochastic depth, except that each
    `hk.BatchNorm` normalizes with the statistics of this batch. It runs operation by operation:
    compiling a deep unrolled network as a whole would take longer than the pass.

    Args:
      network: transformed function of (images, is_training).
      params: its parameters; see `with_unit_skip_gain`.
      state: its state.
      images: [N, H, W, C], or whatever the network takes; the last axis of every measured
        tensor is that of channels.
      rng: key for networks that need one at test time.
      is_block: selects the modules whose output is that of a residual block.
      is_residual_branch: selects those whose output is that of a residual branch, before it is
        scaled and added.
      is_stem: selects the module whose output is the input of the first block.

    Returns:
      Float32 arrays, for a network with L blocks:
      average_squared_mean [1 + L]: of the stem's output and of each block's output.
      average_variance [1 + L]: likewise.
      residual_variance [L]: average variance of each block's branch.

    Raises:
      ValueError: unless one stem, at least one block, and as many branches as blocks are found.
    """
    predicates = dict(stem=is_stem, residual_branch=is_residual_branch, block_output=is_block)
    measured: dict[str, list[tuple]] = {name: [] for name in TAGS}

    def intercept(
        next_method: Callable, args: tuple, kwargs: dict[str, Any], context: hk.MethodContext,
    ) -> Any:
        module = context.module
        if context.method_name != "__call__":
            return next_method(*args, **kwargs)
        if isinstance(module, hk.BatchNorm):
            args, kwargs = _with_batch_statistics(args, kwargs)
        output = next_method(*args, **kwargs)
        for name, predicate in predicates.items():
            if predicate is None:
                selected = isinstance(module, Tag) and module.kind == name
            else:
                selected = predicate(module)
            if selected:
                measured[name].append(_channel_moments(output, module))
        return output

    with hk.intercept_methods(intercept):
        network.apply(params, state, rng, images, False)
    _check_found({name: len(values) for name, values in measured.items()}, predicates)
    outputs = np.asarray(measured["stem"] + measured["block_output"], np.float32)
    branches = np.asarray(measured["residual_branch"], np.float32)
    return dict(
        average_squared_mean=outputs[:, 0],
        average_variance=outputs[:, 1],
        residual_variance=branches[:, 1],
    )


def _channel_moments(output: Any, module: hk.Module) -> tuple[jax.Array, jax.Array]:
    if not isinstance(output, jax.Array | np.ndarray):
        raise ValueError(
            f"module {module.module_name!r} was selected to be measured, but returns "
            f"{type(output).__name__} instead of one array"
        )
    return average_squared_mean(output), average_variance(output)


def _with_batch_statistics(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Sets test_local_stats, the third argument of `hk.BatchNorm.__call__`."""
    if len(args) > 2:
        return (*args[:2], True, *args[3:]), kwargs
    return args, {**kwargs, "test_local_stats": True}


def _check_found(found: dict[str, int], predicates: dict[str, ModulePredicate | None]) -> None:
    blocks, branches, stems = (
        found[name] for name in ("block_output", "residual_branch", "stem")
    )
    if stems == 1 and blocks >= 1 and branches == blocks:
        return
    counts = []
    for name, count in found.items():
        source = f"nets.tag({name!r}, ...)" if predicates[name] is None else _PREDICATES[name]
        counts.append(f"{count} by {source}")
    raise ValueError(
        "a signal propagation plot needs one stem, and one residual branch in each of one or more "
        f"blocks; found {', '.join(counts)}. Mark them with nets.tag inside the network, or "
        "select modules with is_stem, is_residual_branch and is_block"
    )
