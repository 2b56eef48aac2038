"""Analytic predictions of a network's signal propagation plot."""

from collections.abc import Sequence
from typing import Any

from nfnets_jax.nets import registry
from nfnets_jax.nets.activations import moments_by_quadrature
from nfnets_jax.nets.blocks import BlockPlan, expected_variances
from nfnets_jax.nets.conv import INITIALIZATION_GAINS


def expected_variance(name: str, **overrides: Any) -> dict[str, list[float]] | None:
    """Predicts what `analysis.signal_propagation.measure` finds at initialization.

    For images of independent N(0, 1) pixels, skip_gain = 1, wide layers and no border (zero
    padding lowers the measured numbers).

    nf: the bookkeeping of alpha and expected_std, by design (arXiv 2101.08692, section 3), which
    does not count the stem's max-pool. bn: each branch ends in a convolution with independent
    weights of variance gain / fan_in, whose input act(z) has z ~ N(0, 1) in every channel, so that
    it adds gain Var[act(z)] to the variance and gain E[act(z)]^2 to the squared mean of the signal;
    so does a transition's shortcut, which replaces the signal. For ReLU those are gain / 2 times
    1 - 1 / pi and 1 / pi. The stem's max-pool has no closed form: NaN.

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
    if block == "nf" and values["weight_standardization"]:
        variances = expected_variances(plan, values["alpha"])
        return dict(
            average_variance=variances,
            average_squared_mean=[0.0] * len(variances),
            residual_variance=[1.0] * len(plan),
        )
    mixes_channels = values["activation"] in ("glu", "log_softmax")
    if block == "bn" and not values["use_se"] and not mixes_channels:
        gain = INITIALIZATION_GAINS[values["weight_init"]]
        stem_variance = float("nan") if values["stem"] == "imagenet" else gain
        return _batch_norm_recursion(plan, stem_variance, gain, values["activation"])
    return None


def _batch_norm_recursion(
    plan: Sequence[BlockPlan], stem_variance: float, gain: float, activation: str
) -> dict[str, list[float]]:
    mean, second_moment = moments_by_quadrature(activation)
    branch_variance = gain * (second_moment - mean**2)
    branch_squared_mean = gain * mean**2
    variances, squared_means = [stem_variance], [0.0 * stem_variance]
    for block in plan:
        shortcut = (variances[-1], squared_means[-1])
        if block.is_transition:
            shortcut = (branch_variance, branch_squared_mean)
        variances.append(shortcut[0] + branch_variance)
        squared_means.append(shortcut[1] + branch_squared_mean)
    return dict(
        average_variance=variances,
        average_squared_mean=squared_means,
        residual_variance=[branch_variance] * len(plan),
    )
