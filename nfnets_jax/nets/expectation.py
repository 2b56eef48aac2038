"""Analytic predictions of a network's signal propagation plot."""

import math
from collections.abc import Sequence
from typing import Any

from nfnets_jax.nets import registry
from nfnets_jax.nets.activations import moments_by_quadrature
from nfnets_jax.nets.branches import BlockPlan, expected_variances
from nfnets_jax.nets.conv import INITIALIZATION_GAINS


def expected_variance(name: str, **overrides: Any) -> dict[str, list[float]] | None:
    """Predicts what `analysis.signal_propagation.measure` finds at initialization.

    For images of independent N(0, 1) pixels, skip_gain = 1, wide layers and no border (zero
    padding lowers the measured numbers).

    nf: the bookkeeping of alpha and expected_std (arXiv 2101.08692, section 3), which takes the
    stem's variance as 1 even after a max-pool.

    bn: each branch ends in a convolution with independent weights of variance gain / fan_in,
    whose input act(z) has z ~ N(0, 1) in every channel. It adds gain Var[act(z)] to the variance
    and gain E[act(z)]^2 to the squared mean of the signal (for ReLU, gain / 2 times 1 - 1 / pi
    and 1 / pi); so does a transition's shortcut, which replaces the signal. What the stem's
    max-pool does has no closed form: NaN.

    Args:
      name: of the network, as for `create`.
      **overrides: as for `create`.

    Returns:
      average_variance: of the stem's output and of each block's.
      average_squared_mean: likewise.
      residual_variance: of each block's branch.
      Or None where no closed form is known: for skipinit and fixup, for nf without weight
      standardization, and for bn with squeeze-and-excite, glu or log_softmax.

    Raises:
      ValueError: as `create`.
    """
    block, plan, values = registry.resolve_plan(name, overrides)
    has_max_pool = values["stem"] == "imagenet"
    stem_squared_mean = math.nan if has_max_pool else 0.0
    if block == "nf" and values["weight_standardization"]:
        variances = expected_variances(plan, values["alpha"])
        return dict(
            average_variance=variances,
            average_squared_mean=[stem_squared_mean] + [0.0] * len(plan),
            residual_variance=[1.0] * len(plan),
        )
    mixes_channels = values["activation"] in ("glu", "log_softmax")
    if block == "bn" and not values["use_se"] and not mixes_channels:
        gain = INITIALIZATION_GAINS[values["weight_init"]]
        stem_moments = (math.nan if has_max_pool else gain, stem_squared_mean)
        return _batch_norm_recursion(plan, stem_moments, gain, values["activation"])
    return None


def _batch_norm_recursion(
    plan: Sequence[BlockPlan], stem_moments: tuple[float, float], gain: float, activation: str
) -> dict[str, list[float]]:
    mean, second_moment = moments_by_quadrature(activation)
    branch_variance = gain * (second_moment - mean**2)
    branch_squared_mean = gain * mean**2
    moments = [stem_moments]
    for block in plan:
        variance, squared_mean = moments[-1]
        if block.is_transition:
            variance, squared_mean = branch_variance, branch_squared_mean
        moments.append((variance + branch_variance, squared_mean + branch_squared_mean))
    variances, squared_means = map(list, zip(*moments, strict=True))
    return dict(
        average_variance=variances,
        average_squared_mean=squared_means,
        residual_variance=[branch_variance] * len(plan),
    )
