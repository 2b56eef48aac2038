"""Training with weights on a grid: rounding and BinaryConnect, around any optax optimizer.

Deterministic rounding (R), stochastic rounding (SR) and BinaryConnect (BC) as "Training Quantized
Nets: A Deeper Understanding" (arXiv 1706.02379) compares them; the formulas were recalled, not read
in the paper. The parameters that the network sees are always the weights on the grid, w_b:

    R, SR   w_b <- Q(w_b + u)                         u: the step of the inner optimizer at w_b
    BC      w_r <- clip(w_r + u);  w_b <- Q(w_r)      gradients at w_b, steps taken by w_r

The moments of the inner optimizer, and w_r, are float32: what a method saves is in w_b alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.random import threefry_2x32

ROUNDINGS = ("deterministic", "stochastic")

# A tree of bools, or a function that makes one out of the parameters; None stands for all of them.
Mask = Any


@dataclasses.dataclass(frozen=True)
class Grid:
    """The multiples of `delta`, those between `lo` and `hi`: fixed-point numbers.

    The point of code k is the float nearest to k delta. Where delta is no power of two,
    `w + (q - w)` can miss the point q by a rounding error; `project` puts it back.

    Attributes:
      delta: distance between neighbours, above 0.
      lo, hi: the first and the last point, multiples of delta; None for no bound. All three may be
        traced.
    """

    delta: float
    lo: float | None = None
    hi: float | None = None

    def __post_init__(self):
        """Refuses, with a ValueError, a distance and bounds between which there is no grid."""
        if any(isinstance(x, jax.core.Tracer) for x in (self.delta, self.lo, self.hi)):
            return
        if not self.delta > 0:
            raise ValueError(f"delta={self.delta}: the distance of two points must be above 0")
        for name in ("lo", "hi"):
            bound = getattr(self, name)
            if bound is not None and abs(bound / self.delta - round(bound / self.delta)) > 1e-6:
                near = self.delta * round(bound / self.delta)
                raise ValueError(f"{name}={bound}: not a multiple of delta={self.delta}; use "
                                 f"{near:g}")
        if self.lo is not None and self.hi is not None and not self.lo < self.hi:
            raise ValueError(f"hi={self.hi}: must be above lo={self.lo}")

    def nearest(self, w: jax.Array) -> jax.Array:
        """Codes of the nearest points, as whole floats; of two the one further from 0."""
        size = jnp.abs(w) / self.delta
        whole = jnp.floor(size)
        return jnp.sign(w) * (whole + (size - whole >= 0.5))

    def locate(self, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Codes of the points below w, and how far w is to the next, in [0, 1)."""
        size = w / self.delta
        below = jnp.floor(size)
        nearest = jnp.round(size)
        is_point = nearest * self.delta == w  # which the quotient, rounded, may have missed
        return jnp.where(is_point, nearest, below), jnp.where(is_point, 0.0, size - below)

    def points(self, codes: jax.Array) -> jax.Array:
        """The points with these codes; beyond an end of the grid, that end."""
        lo, hi = (None if bound is None else jnp.round(bound / self.delta)
                  for bound in (self.lo, self.hi))
        return jnp.clip(codes, lo, hi) * self.delta


@dataclasses.dataclass(frozen=True)
class BinaryGrid:
    """The two points -scale and scale, of codes 0 and 1. They are 2 scale apart.

    Attributes:
      scale: above 0; may be traced.
    """

    scale: float = 1.0

    def __post_init__(self):
        """Refuses a scale that is not above 0, with a ValueError."""
        if not isinstance(self.scale, jax.core.Tracer) and not self.scale > 0:
            raise ValueError(f"scale={self.scale}: must be above 0")

    @property
    def lo(self) -> float:
        """The first point."""
        return -self.scale

    @property
    def hi(self) -> float:
        """The last point."""
        return self.scale

    def nearest(self, w: jax.Array) -> jax.Array:
        """Codes of the nearest points; that of 0 is `scale`."""
        return jnp.where(w >= 0, 1.0, 0.0)

    def locate(self, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Codes of the point below, always 0, and how far w is to the next, in [0, 1]."""
        return jnp.zeros_like(w), jnp.clip(0.5 * (w / self.scale + 1.0), 0.0, 1.0)

    def points(self, codes: jax.Array) -> jax.Array:
        """The points with these codes."""
        return jnp.where(codes > 0, self.scale, -self.scale)


def round_deterministic(w: jax.Array, grid: Grid | BinaryGrid) -> jax.Array:
    """Q_d(w): the nearest points; halfway between two, the one further from 0.

    On the binary grid this is scale sign(w), with sign(0) = 1.

    Args:
      w: float array.
      grid: the points.
    """
    return grid.points(grid.nearest(w)).astype(w.dtype)


def round_stochastic(key: jax.Array, w: jax.Array, grid: Grid | BinaryGrid) -> jax.Array:
    """Q_s(w): one of the two neighbouring points at random, so that the mean is w.

    A share q of the way from a point to the next is rounded up with probability q, each element on
    its own: E Q_s(w) = w, Var Q_s(w) = delta^2 q (1 - q). Points stay where they are. Beyond
    the ends of the grid, w becomes the end. The probabilities are those of 32 random bits.

    Args:
      key: used for nothing else.
      w: float array.
      grid: the points.
    """
    w = jnp.asarray(w)
    return _round_up(_random_bits(key, w.size).reshape(w.shape), w, grid)


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


def rounded(
    inner: optax.GradientTransformation,
    grid: Grid | BinaryGrid,
    rounding: str = "stochastic",
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """R and SR: the steps of an optimizer, after each of which the weights are rounded.

    The state is that of `inner`. To be the last transformation of a chain. With stochastic
    rounding, `update` is given a key, the same on all devices: `update(grads, state, params,
    key=key)`. Gradients may be accumulated by `optax.MultiSteps` around `inner` or around this:
    points stay where they are in the steps between.

    Args:
      inner: the optimizer.
      grid: the points; parameters in the mask that are on none are taken for the nearest.
      rounding: one of `ROUNDINGS`.
      mask: which parameters are quantized; `inner` updates the others as it would alone.

    Raises:
      ValueError: for another rounding, or a missing key.
    """
    _check_rounding(rounding)
    inner = optax.with_extra_args_support(inner)

    def update(updates, state, params, *, key=None, **extra):
        updates, state = inner.update(updates, state, params, **extra)
        where = resolve_mask(mask, params)
        start = jax.tree.map(lambda w: round_deterministic(w, grid), _select(params, where))
        moved = jax.tree.map(jnp.add, start, _select(updates, where))
        points = _round_tree(key, moved, grid, rounding)
        steps = jax.tree.map(jnp.subtract, points, _select(params, where))
        return _merge(where, steps, updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


class BinaryConnectState(NamedTuple):
    """State of `binary_connect`.

    Attributes:
      latent: w_r, a tree like the parameters, with an `optax.MaskedNode` for those outside the
        mask.
      inner_state: of the optimizer.
    """

    latent: Any
    inner_state: Any


def binary_connect(
    inner: optax.GradientTransformation,
    grid: Grid | BinaryGrid,
    rounding: str = "deterministic",
    clip: float | None = None,
    mask: Mask = None,
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

    Raises:
      ValueError: for another rounding, or a missing key.
    """
    _check_rounding(rounding)
    inner = optax.with_extra_args_support(inner)
    lo, hi = (grid.lo, grid.hi) if clip is None else (-clip, clip)

    def init(params):
        latent = jax.tree.map(jnp.array, _select(params, resolve_mask(mask, params)))
        return BinaryConnectState(latent, inner.init(params))

    def update(updates, state, params, *, key=None, **extra):
        where = resolve_mask(mask, params)
        updates, inner_state = inner.update(
            updates, state.inner_state, _merge(where, state.latent, params), **extra)
        latent = jax.tree.map(
            lambda w, u: jnp.clip(w + u, lo, hi), state.latent, _select(updates, where))
        points = _round_tree(key, latent, grid, rounding)
        steps = jax.tree.map(jnp.subtract, points, _select(params, where))
        return _merge(where, steps, updates), BinaryConnectState(latent, inner_state)

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


def _round_tree(key, tree, grid, rounding):
    """Rounds all leaves, with one draw of random bits: one program instead of one a leaf."""
    if rounding == "deterministic":
        return jax.tree.map(lambda w: round_deterministic(w, grid), tree)
    if key is None:
        raise ValueError("key=None: stochastic rounding draws at random; call "
                         "update(grads, state, params, key=key)")
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([w.size for w in leaves])
    bits = jnp.split(_random_bits(key, int(ends[-1])), ends[:-1]) if leaves else []
    return structure.unflatten([
        _round_up(b.reshape(w.shape), w, grid) for b, w in zip(bits, leaves, strict=True)])


def _random_bits(key, count):
    """uint32 [count]. `jax.random.bits` would hash twice as many blocks."""
    return threefry_2x32(jax.random.key_data(key)[:2], jax.lax.iota(jnp.uint32, count))


def _round_up(bits, w, grid):
    codes, share = grid.locate(w)
    # 2^32 share as an integer, below 2^32; a share of 1 is always rounded up.
    largest = 1.0 - jnp.finfo(share.dtype).epsneg
    bound = (jnp.minimum(share, largest) * 2.0**32).astype(jnp.uint32)
    return grid.points(codes + ((bits < bound) | (share >= 1.0))).astype(w.dtype)
