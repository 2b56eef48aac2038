"""Analytic predictions of a network's signal propagation plot."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nfnets_jax.nets import registry
from nfnets_jax.nets.activations import moments_by_quadrature
from nfnets_jax.nets.branches import BlockPlan, expected_variances
from nfnets_jax.nets.conv import INITIALIZATION_GAINS


class _Moments(NamedTuple):
    """Variance of a channel over images and positions, and its squared mean."""

    variance: float
    squared_mean: float

    def __add__(self, other: "_Moments") -> "_Moments":
        return _Moments(self.variance + other.variance, self.squared_mean + other.squared_mean)

    def times(self, factor: float) -> "_Moments":
        return _Moments(self.variance * factor, self.squared_mean * factor)


def expected_variance(
    name: str, *, stem_moments: tuple[float, float] | None = None, **overrides: Any
) -> dict[str, list[float]] | None:
    """Predicts what `analysis.signal_propagation.measure` finds at initialization.

    For images of independent N(0, 1) pixels, skip_gain = 1, wide layers and no border (zero
    padding lowers the measured numbers). For these the prediction exists:

    NF-ResNets, NF-RegNets, NFNets: the bookkeeping of alpha and expected_std (arXiv 2101.08692,
    section 3), which takes the stem's variance as 1 even after a max-pool.

    bn: each branch ends in a convolution with independent weights of variance gain / fan_in. With
    norm_order='norm_act' its input is act(z), z ~ N(0, 1) in every channel, and it adds
    gain Var[act(z)] to the variance and gain E[act(z)]^2 to the squared mean of the signal (for
    ReLU, gain / 2 times 1 - 1 / pi and 1 / pi). With 'act_norm' its input has mean 0 and variance
    1, and it adds gain to the variance. So does a transition's shortcut, which replaces the
    signal. With use_skip=False nothing but the branch is left.

    Without a norm and without weight standardization (plain, sqrt2; skipinit and nf as controls),
    with He's initialization and ReLU: a convolution of relu(x) keeps the second moment M of x, and
    turns the mean product C of a channel at two images or positions into
    M (sqrt(1 - c^2) + (pi - arccos c) c) / pi, c = C / M (Cho and Saul 2009, the arc-cosine kernel
    of degree 1). Then C is the squared mean, and M - C the variance.

    Args:
      name: of the network, as for `create`.
      stem_moments: variance and squared mean of the stem's output, where they were measured;
        what a max-pool does has no closed form, and is NaN otherwise.
      **overrides: as for `create`.

    Returns:
      average_variance: of the stem's output and of each block's.
      average_squared_mean: likewise.
      residual_variance: of each block's branch.
      Or None where no closed form is known: for fixup, bn_v1 and fully connected networks; without
        a norm unless as said above and for a known stem; for bn with squeeze-and-excite, weight
        standardization, another norm, glu or log_softmax.

    Raises:
      ValueError: as `create`.
    """
    if not registry.is_tagged(name):
        return None
    block, plan, values = registry.resolve_plan(name, overrides)
    activation = values["activation"]
    if block == "nf" and values["weight_standardization"]:
        stem_squared_mean = math.nan if values["stem"] == "imagenet" else 0.0
        variances = expected_variances(plan, values["alpha"])
        return dict(
            average_variance=variances,
            average_squared_mean=[stem_squared_mean] + [0.0] * len(plan),
            residual_variance=[1.0] * len(plan),
        )
    normalized = block == "bn" and values["norm"] == "batch" and not (
        values["use_se"] or values["weight_standardization"])
    if normalized and activation not in ("glu", "log_softmax"):
        gain = INITIALIZATION_GAINS[values["weight_init"]]
        branch = _Moments(gain, 0.0)
        if values["norm_order"] == "norm_act":
            mean, second_moment = moments_by_quadrature(activation)
            branch = _Moments(second_moment - mean**2, mean**2).times(gain)
        stem = _stem(values, gain, stem_moments)
        return _recursion(plan, stem, lambda x, i: branch, lambda x, i: branch,
                          use_skip=values["use_skip"])
    has_he = block == "nf" or values.get("weight_init") == "he"
    if block in ("nf", "skipinit", "sqrt2", "plain") and has_he and activation == "relu":
        stem = _stem(values, 2.0, stem_moments)
        if not values.get("use_se") and not values.get("use_eca") and stem.variance > 0:
            return _without_norm(block, plan, values, stem)
    return None


def _stem(values: Mapping, gain: float, stem_moments: tuple[float, float] | None) -> _Moments:
    if stem_moments is not None:
        return _Moments(*stem_moments)
    if values["stem"] == "imagenet":
        return _Moments(math.nan, math.nan)
    return _Moments(gain, 0.0)


def _without_norm(
    block: str,
    plan: Sequence[BlockPlan],
    values: Mapping[str, Any],
    stem: _Moments,
) -> dict[str, list[float]]:
    alpha = values["alpha"] if block == "nf" else 1.0
    assumed = expected_variances(plan, alpha) if block == "nf" else [1.0] * (len(plan) + 1)

    def shortcut(x: _Moments, index: int) -> _Moments:
        x = x.times(1.0 / assumed[index])
        if index == 0 and values["stem"] == "imagenet":
            return x.times(2.0)  # what comes out of a max-pool is positive, and passes the ReLU
        return _relu_and_he_convolution(x)

    def branch(x: _Moments, index: int) -> _Moments:
        x = shortcut(x, index)  # the first convolution
        for _ in plan[index].kernels[1:]:
            x = _relu_and_he_convolution(x)
        return x

    return _recursion(plan, stem, branch, shortcut, alpha, 0.5 if block == "sqrt2" else 1.0,
                      values.get("use_skip", True))


def _relu_and_he_convolution(x: _Moments) -> _Moments:
    second_moment = x.variance + x.squared_mean
    c = min(1.0, x.squared_mean / second_moment)
    product = second_moment * (math.sqrt(1 - c**2) + (math.pi - math.acos(c)) * c) / math.pi
    return _Moments(second_moment - product, product)


def _recursion(
    plan: Sequence[BlockPlan],
    stem: _Moments,
    branch: Callable[[_Moments, int], _Moments],
    shortcut: Callable[[_Moments, int], _Moments],
    alpha: float = 1.0,
    factor: float = 1.0,
    use_skip: bool = True,
) -> dict[str, list[float]]:
    moments, residual_variance = [stem], []
    for block in plan:
        x = moments[-1]
        added = branch(x, block.index)
        residual_variance.append(added.variance)
        kept = _Moments(0.0, 0.0)
        if use_skip:
            kept = shortcut(x, block.index) if block.is_transition else x
        moments.append((kept + added.times(alpha**2)).times(factor))
    return dict(
        average_variance=[value.variance for value in moments],
        average_squared_mean=[value.squared_mean for value in moments],
        residual_variance=residual_variance,
    )
