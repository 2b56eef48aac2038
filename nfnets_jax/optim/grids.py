"""Grids of weights, and rounding to them (quantizers of arXiv 1706.02379, as recalled)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32


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

    @property
    def spacing(self) -> float:
        """Distance of two neighbours."""
        return self.delta

    @property
    def is_exact(self) -> bool:
        """Whether floats can step from point to point without a rounding error."""
        return math.frexp(self.delta)[0] == 0.5  # a power of two

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
    """The two points -scale and scale, of codes 0 and 1. They are 2 scale apart; NaN stays NaN.

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

    @property
    def spacing(self) -> float:
        """Distance of the two points."""
        return 2 * self.scale

    @property
    def is_exact(self) -> bool:
        """Whether floats can step from point to point without a rounding error: always."""
        return True

    def nearest(self, w: jax.Array) -> jax.Array:
        """Codes of the nearest points; that of 0 is `scale`."""
        return jnp.heaviside(w, 1.0)

    def locate(self, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Codes of the point below, always 0, and how far w is to the next, in [0, 1]."""
        codes = jnp.where(jnp.isnan(w), w, 0.0)
        return codes, jnp.clip(0.5 * (w / self.scale + 1.0), 0.0, 1.0)

    def points(self, codes: jax.Array) -> jax.Array:
        """The points with these codes."""
        return self.scale * (2.0 * jnp.clip(codes, 0.0, 1.0) - 1.0)


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
    the ends of the grid, w becomes the end. The probabilities are those of 31 random bits.

    Args:
      key: used for nothing else.
      w: float array.
      grid: the points.
    """
    w = jnp.asarray(w)
    return round_with_bits(random_bits(key, w.size).reshape(w.shape), w, grid)


def random_bits(key: jax.Array, count: int) -> jax.Array:
    """Random uint32 [count], for a quarter of the work of `jax.random.bits`.

    A block of the hash is two words instead of one, and a word is two numbers: itself, and its
    halves exchanged. Each number is uniform. Whether two that share a word lie below some bounds is
    decided by different halves but for ties, so that the covariance of the two events is below
    2^-16; all other pairs are independent.

    Args:
      key: used for nothing else.
      count: how many.
    """
    counter = jax.lax.iota(jnp.uint32, -(-count // 2))
    words = threefry_2x32(jax.random.key_data(key)[:2], counter)
    return jnp.concatenate([words, words << 16 | words >> 16])[:count]


def round_with_bits(bits: jax.Array, w: jax.Array, grid: Grid | BinaryGrid) -> jax.Array:
    """`round_stochastic` with random uint32 `bits` of the shape of w."""
    codes, share = grid.locate(w)
    # Signed integers, because processors convert floats to those; a share of 1 does not fit.
    is_below = (bits >> 1).astype(jnp.int32) < (share * 2.0**31).astype(jnp.int32)
    return grid.points(codes + (is_below | (share >= 1.0))).astype(w.dtype)
