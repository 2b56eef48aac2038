"""The normalizations that a network can be built with, and what stands where there is none."""

import math
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

NORMS = ("batch", "ghost_batch", "layer", "group", "instance", "none", "calibrated")

# (inputs, is_training, name=..., scale_init=...) -> array of the same shape and dtype
Norm = Callable[..., jax.Array]


def make_norm(
    kind: str,
    *,
    num_groups: int = 16,
    ghost_size: int = 64,
    decay_rate: float = 0.9,
    eps: float = 1e-5,
    cross_replica_axis: str | None = None,
) -> Norm:
    """Returns the function that applies a new normalization to [N, H, W, C] or [N, C].

    All have a scale (initially 1) and an offset (0) for each channel, and compute in float32.

    Args:
      kind: over which axes the mean and the variance are taken.
        'batch': N, H, W, and over the devices of `cross_replica_axis`; moving averages at test.
        'ghost_batch': likewise for each `ghost_size` consecutive examples; see `GhostBatchNorm`.
        'layer': H, W, C. 'group': H, W and each of `num_groups` groups of channels (Wu and He
        2018, arXiv 1803.08494). 'instance': H, W.
        'none': nothing is normalized, scale and offset stay.
        'calibrated': likewise, but scale and offset start so that the images the network is
        initialised with come out as a batch norm would give them; see `Affine`.
      num_groups: of 'group'; with fewer channels each is a group.
      ghost_size: examples of a group of 'ghost_batch'.
      decay_rate: of the moving averages of 'batch' and 'ghost_batch'.
      eps: added to the variance.
      cross_replica_axis: of 'batch'; None for the device's own statistics.

    Raises:
      ValueError: if the kind is unknown.
    """
    if kind not in NORMS:
        raise ValueError(f"norm={kind!r} is unknown; allowed: {', '.join(NORMS)}")

    def norm(inputs: jax.Array, is_training: bool, name: str, scale_init: float = 1.0) -> jax.Array:
        x = inputs.astype(jnp.float32)
        init = hk.initializers.Constant(scale_init)
        if kind in ("batch", "ghost_batch"):
            shared = dict(create_scale=True, create_offset=True, decay_rate=decay_rate, eps=eps,
                          scale_init=init, name=name)
            if kind == "ghost_batch":
                module = GhostBatchNorm(ghost_size, **shared)
            else:
                module = hk.BatchNorm(cross_replica_axis=cross_replica_axis, **shared)
            x = module(x, is_training)
        elif kind in ("layer", "group", "instance"):
            groups = count_groups(kind, num_groups, x.shape)
            x = hk.GroupNorm(groups, eps=eps, scale_init=init, name=name)(x)
        else:
            x = Affine(kind == "calibrated", eps, scale_init, name=name)(x)
        return x.astype(inputs.dtype)

    return norm


class GhostBatchNorm(hk.BatchNorm):
    """Batch norm whose statistics are those of groups of the batch, not of all of it.

    The examples of a batch form groups of `ghost_size` consecutive ones, each normalized by its
    own mean and variance, so that the noise of the statistics does not change with the batch size
    (Hoffer et al. 2017, arXiv 1705.08741). The moving averages take in the mean over groups; at
    test they are used as in batch norm, whose parameters and state these are. Smaller batches are
    one group. The groups are those of the device's own examples.
    """

    def __init__(self, ghost_size: int, **arguments):
        """Sets the hyperparameters.

        Args:
          ghost_size: examples of a group.
          **arguments: of `hk.BatchNorm`, with a scale and an offset.
        """
        super().__init__(**arguments)
        self.ghost_size = ghost_size

    def __call__(
        self, inputs: jax.Array, is_training: bool, test_local_stats: bool = False
    ) -> jax.Array:
        """Maps [N, ..., C] to the same shape and dtype.

        Raises:
          ValueError: if N is above `ghost_size` and not a multiple of it, where groups are formed.
        """
        if not (is_training or test_local_stats):
            return super().__call__(inputs, is_training)
        count, channels = inputs.shape[0], inputs.shape[-1]
        size = min(self.ghost_size, count)
        if count % size:
            raise ValueError(
                f"ghost_size={size}: does not divide the {count} examples that are normalized "
                f"together on a device; use {math.gcd(size, count)}, or batches of a multiple")
        axes = tuple(range(1, inputs.ndim))
        groups = inputs.reshape(-1, size, *inputs.shape[1:])
        mean = jnp.mean(groups, axes, keepdims=True)
        variance = jnp.mean(jnp.square(groups), axes, keepdims=True) - jnp.square(mean)
        if is_training:
            self.mean_ema(jnp.mean(mean, 0))
            self.var_ema(jnp.mean(variance, 0))
        shape = (1,) * (inputs.ndim - 1) + (channels,)
        scale = hk.get_parameter("scale", shape, inputs.dtype, init=self.scale_init)
        offset = hk.get_parameter("offset", shape, inputs.dtype, init=self.offset_init)
        outputs = (groups - mean) * (scale * jax.lax.rsqrt(variance + self.eps)) + offset
        return outputs.reshape(inputs.shape)


class Affine(hk.Module):
    """scale x + offset for each channel: a normalization layer without its statistics.

    Calibrated, the first images the layer sees, those that its parameters are initialised with,
    leave it with mean 0 and standard deviation `scale_init`: scale = scale_init / sigma and offset
    = -scale mu, where mu and sigma^2 are each channel's mean and variance over these images. As
    layers are initialised in order, the statistics of each are those behind the calibrated ones
    before it, and the whole network equals one with batch norm on these images. From then on it is
    trained without statistics. After arXiv 2010.10241, whose exact procedure is recalled, not read.
    """

    def __init__(self, calibrated: bool, eps: float, scale_init: float, name: str):
        """Sets the hyperparameters.

        Args:
          calibrated: whether the parameters depend on the first inputs.
          eps: added to the variance, as batch norm does.
          scale_init: initial scale, or standard deviation of the first outputs.
          name: of the module.
        """
        super().__init__(name=name)
        self.calibrated = calibrated
        self.eps = eps
        self.scale_init = scale_init

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [..., C] to the same shape and dtype."""
        axes = tuple(range(inputs.ndim - 1))

        def init_scale(shape, dtype):
            if not self.calibrated:
                return jnp.full(shape, self.scale_init, dtype)
            return self.scale_init * jax.lax.rsqrt(jnp.var(inputs, axes) + self.eps)

        scale = hk.get_parameter("scale", inputs.shape[-1:], inputs.dtype, init=init_scale)

        def init_offset(shape, dtype):
            if not self.calibrated:
                return jnp.zeros(shape, dtype)
            return -scale * jnp.mean(inputs, axes)

        offset = hk.get_parameter("offset", inputs.shape[-1:], inputs.dtype, init=init_offset)
        return inputs * scale + offset


def count_groups(kind: str, num_groups: int, shape: tuple[int, ...]) -> int:
    """Returns the groups of channels that are normalized together.

    Args:
      kind: 'layer', 'group' or 'instance'.
      num_groups: of 'group'.
      shape: of the inputs, [N, ..., C].

    Raises:
      ValueError: if they do not divide the channels, or would be of one number each.
    """
    channels = shape[-1]
    groups = {"layer": 1, "instance": channels}.get(kind, min(num_groups, channels))
    if channels % groups:
        raise ValueError(
            f"num_groups={groups}: does not divide a layer of {channels} channels; use "
            f"{math.gcd(groups, channels)}")
    if len(shape) == 2 and groups == channels:
        raise ValueError(
            f"norm={kind!r}: has one number to normalize in each of {channels} groups of a vector "
            "of features, and would return its offset; use 'layer' or fewer groups")
    return groups
