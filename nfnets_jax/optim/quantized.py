"""Training with weights on a grid: rounding and BinaryConnect, around any optax optimizer.

Deterministic rounding (R), stochastic rounding (SR) and BinaryConnect (BC) as "Training Quantized
Nets: A Deeper Understanding" (arXiv 1706.02379) compares them; the formulas were recalled, not read
in the paper. The parameters that the network sees are always the weights on the grid, w_b:

    R, SR   w_b <- Q(w_b + u)                         u: the step of the inner optimizer at w_b
    BC      w_r <- clip(w_r + u);  w_b <- Q(w_r)      gradients at w_b, steps taken by w_r

The moments of the inner optimizer, w_r, and the sums w_b + u are float32 also where the parameters
are narrower, such as bfloat16, in which w_b + u would be w_b: what a method saves is in w_b alone.
Such parameters need a grid whose points they hold exactly.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax.optim.grids import (
    BinaryGrid,
    Grid,
    random_bits,
    round_deterministic,
    round_stochastic,
    round_with_bits,
)

__all__ = ["ROUNDINGS", "BinaryConnectState", "BinaryGrid", "Grid", "RoundedState",
           "binary_connect", "latent_params", "project", "random_start", "resolve_mask",
           "round_deterministic", "round_stochastic", "rounded"]

ROUNDINGS = ("deterministic", "stochastic")

# A tree of bools, or a function that makes one out of the parameters; None stands for all of them.
Mask = Any


def project(params: Any, grid: Grid | BinaryGrid, mask: Mask = None) -> Any:
    """Parameters of which those in the mask are replaced by the nearest points.

    Args:
      params: tree of arrays.
      grid: the points.
      mask: which parameters are quantized.
    """
    mask = resolve_mask(mask, params)
    return jax.tree.map(lambda m, w: round_deterministic(w, grid) if m else w, mask, params)


def random_start(key: jax.Array, params: Any, grid: Grid | BinaryGrid, mask: Mask = None) -> Any:
    """Where R and SR begin: random signs times the scale, or new parameters rounded to a grid.

    They are rounded stochastically, because the nearest point of most small weights is 0.

    Args:
      key: used for nothing else.
      params: tree of arrays, as a network initialises them.
      grid: the points.
      mask: which parameters are quantized.
    """
    mask = resolve_mask(mask, params)
    chosen = _select(params, mask)
    if isinstance(grid, BinaryGrid):
        chosen = jax.tree.map(jnp.zeros_like, chosen)
    return _merge(mask, _round_tree(key, chosen, grid, "stochastic"), params)


class RoundedState(NamedTuple):
    """State of `rounded`.

    Attributes:
      inner_state: of the optimizer.
      flips: float32 scalar, how often a quantized weight has changed so far, on average; () where
        that is not counted.
    """

    inner_state: Any
    flips: jax.Array | tuple[()]


def rounded(
    inner: optax.GradientTransformation,
    grid: Grid | BinaryGrid,
    rounding: str = "stochastic",
    mask: Mask = None,
    count_flips: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """R and SR: the steps of an optimizer, after each of which the weights are rounded.

    To be the last transformation of a chain. With stochastic rounding, `update` is given a key, the
    same on all devices: `update(grads, state, params, key=key)`. Gradients may be accumulated by
    `optax.MultiSteps` around `inner` or around this: points stay where they are in between.

    Args:
      inner: the optimizer.
      grid: the points, on which the parameters in the mask have to begin.
      rounding: one of `ROUNDINGS`.
      mask: which parameters are quantized; `inner` updates the others as it would alone.
      count_flips: whether the state counts how often weights change.

    Raises:
      ValueError: for another rounding, or a missing key.
    """
    _check_rounding(rounding)
    inner = optax.with_extra_args_support(inner)

    def init(params):
        where = resolve_mask(mask, params)
        inner_state = inner.init(_merge(where, _widen(_select(params, where)), params))
        return RoundedState(inner_state, jnp.zeros(()) if count_flips else ())

    def update(updates, state, params, *, key=None, **extra):
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
        where = resolve_mask(mask, params)
        before = _widen(_select(params, where))
        moved = jax.tree.map(jnp.add, before, _select(updates, where))
        points = _round_tree(key, moved, grid, rounding)
        steps = jax.tree.map(jnp.subtract, points, before)
        return _merge(where, optax.tree.cast_like(steps, _select(params, where)), updates), (
            RoundedState(inner_state, _count_moved(state.flips, steps, grid)))

    return optax.GradientTransformationExtraArgs(init, update)


class BinaryConnectState(NamedTuple):
    """State of `binary_connect`.

    Attributes:
      latent: w_r, float32, a tree like the parameters, with an `optax.MaskedNode` for those
        outside the mask.
      inner_state: of the optimizer.
      flips: as in `RoundedState`.
    """

    latent: Any
    inner_state: Any
    flips: jax.Array | tuple[()]


def binary_connect(
    inner: optax.GradientTransformation,
    grid: Grid | BinaryGrid,
    rounding: str = "deterministic",
    clip: float | None = None,
    mask: Mask = None,
    count_flips: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """BC: steps are taken by weights in full precision, whose rounded copies the network sees.

    The algorithm of Courbariaux et al. (arXiv 1511.00363), on any grid. `inner` is shown w_r as the
    parameters. `init` is given the parameters before they are rounded, which w_r starts from, and
    the caller's are then projected: `params = project(params, grid, mask)`. To be the last
    transformation of a chain. With stochastic rounding, `update` is given a key, the same on all
    devices: `update(grads, state, params, key=key)`.

    Args:
      inner: the optimizer.
      grid: the points.
      rounding: one of `ROUNDINGS`, of w_r to w_b.
      clip: w_r is kept in [-clip, clip]; None for the ends of the grid, beyond which it would grow
        without effect.
      mask: which parameters are quantized; `inner` updates the others as it would alone.
      count_flips: whether the state counts how often weights change.

    Raises:
      ValueError: for another rounding, or a missing key.
    """
    _check_rounding(rounding)
    inner = optax.with_extra_args_support(inner)
    lo, hi = (grid.lo, grid.hi) if clip is None else (-clip, clip)

    def init(params):
        where = resolve_mask(mask, params)
        latent = jax.tree.map(jnp.array, _widen(_select(params, where)))
        return BinaryConnectState(latent, inner.init(_merge(where, latent, params)),
                                  jnp.zeros(()) if count_flips else ())

    def update(updates, state, params, *, key=None, **extra):
        where = resolve_mask(mask, params)
        updates, inner_state = inner.update(
            updates, state.inner_state, _merge(where, state.latent, params), **extra)
        latent = jax.tree.map(
            lambda w, u: jnp.clip(w + u, lo, hi), state.latent, _select(updates, where))
        points = _round_tree(key, latent, grid, rounding)
        before = _select(params, where)
        steps = jax.tree.map(jnp.subtract, points, before)
        return _merge(where, optax.tree.cast_like(steps, before), updates), BinaryConnectState(
            latent, inner_state, _count_moved(state.flips, steps, grid))

    return optax.GradientTransformationExtraArgs(init, update)


def latent_params(opt_state: Any, params: Any) -> Any:
    """The parameters with w_r in place of w_b.

    With stochastic rounding the reference code of BinaryConnect evaluates these.

    Args:
      opt_state: of an optimizer with one `binary_connect` in it.
      params: that it updates.
    """
    return jax.tree.map(
        lambda r, w: w if isinstance(r, optax.MaskedNode) else r,
        optax.tree.get(opt_state, "latent"), params,
        is_leaf=lambda x: isinstance(x, optax.MaskedNode))


def resolve_mask(mask: Mask, params: Any) -> Any:
    """The tree of bools that a mask stands for."""
    if mask is None:
        return jax.tree.map(lambda _: True, params)
    return mask(params) if isinstance(mask, Callable) else mask


def _check_rounding(rounding):
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding={rounding!r} is unknown; use {' or '.join(ROUNDINGS)}")


def _select(tree, mask):
    return jax.tree.map(lambda m, x: x if m else optax.MaskedNode(), mask, tree)


def _merge(mask, chosen, others):
    return jax.tree.map(lambda m, a, b: a if m else b, mask, chosen, others)


def _widen(tree):
    """At least float32: a small step would be lost in a sum of fewer bits."""
    return jax.tree.map(lambda w: w.astype(jnp.promote_types(w.dtype, jnp.float32)), tree)


def _count_moved(flips, steps, grid):
    """Adds the share of weights that make a step; () where they are not counted."""
    if isinstance(flips, tuple):
        return ()
    # Half a spacing: a grid without powers of two is missed by rounding errors.
    moved = jax.tree.map(lambda x: jnp.sum(jnp.abs(x) > grid.spacing / 2), steps)
    return flips + optax.tree.sum(moved) / optax.tree.size(steps)


def _round_tree(key, tree, grid, rounding):
    """Rounds all leaves, with one draw of random bits: one program instead of one a leaf."""
    if rounding == "deterministic":
        return jax.tree.map(lambda w: round_deterministic(w, grid), tree)
    if key is None:
        raise ValueError("key=None: stochastic rounding draws at random; call "
                         "update(grads, state, params, key=key)")
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([w.size for w in leaves])
    bits = jnp.split(random_bits(key, int(ends[-1])), ends[:-1]) if leaves else []
    return structure.unflatten([
        round_with_bits(b.reshape(w.shape), w, grid) for b, w in zip(bits, leaves, strict=True)])
