"""Haiku networks: normalizer-free, SkipInit, FixUp and batch-normalized residual networks."""

from nfnets_jax.nets.activations import (
    activation,
    activation_names,
    gamma,
    gamma_by_quadrature,
    moments_by_quadrature,
)
from nfnets_jax.nets.conv import Conv2D
from nfnets_jax.nets.expectation import expected_variance
from nfnets_jax.nets.layers import SqueezeExcite, StochasticDepth, tag
from nfnets_jax.nets.registry import create, defaults, names, total_stride
from nfnets_jax.nets.resnet import ResNet
from nfnets_jax.nets.weight_standardization import WSConv2D, standardize

__all__ = (
    "Conv2D",
    "ResNet",
    "SqueezeExcite",
    "StochasticDepth",
    "WSConv2D",
    "activation",
    "activation_names",
    "create",
    "defaults",
    "expected_variance",
    "gamma",
    "gamma_by_quadrature",
    "moments_by_quadrature",
    "names",
    "standardize",
    "tag",
    "total_stride",
)
