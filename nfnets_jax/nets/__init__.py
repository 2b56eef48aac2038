"""Haiku networks: NF-ResNets, NF-RegNets, NFNets, their baselines, VGGs, fully connected ones."""

from nfnets_jax.nets.activations import (
    activation,
    activation_names,
    gamma,
    gamma_by_quadrature,
    moments_by_quadrature,
)
from nfnets_jax.nets.architectures import names
from nfnets_jax.nets.conv import Conv2D
from nfnets_jax.nets.expectation import expected_variance
from nfnets_jax.nets.heads import create_mlp, with_two_logits
from nfnets_jax.nets.layers import EfficientChannelAttention, SqueezeExcite, StochasticDepth, tag
from nfnets_jax.nets.normalization import NORMS, make_norm
from nfnets_jax.nets.registry import create, defaults, image_sizes, is_tagged, total_stride
from nfnets_jax.nets.resnet import ResNet
from nfnets_jax.nets.weight_standardization import WSConv2D, standardize

__all__ = (
    "NORMS",
    "Conv2D",
    "EfficientChannelAttention",
    "ResNet",
    "SqueezeExcite",
    "StochasticDepth",
    "WSConv2D",
    "activation",
    "activation_names",
    "create",
    "create_mlp",
    "defaults",
    "expected_variance",
    "gamma",
    "gamma_by_quadrature",
    "image_sizes",
    "is_tagged",
    "make_norm",
    "moments_by_quadrature",
    "names",
    "standardize",
    "tag",
    "total_stride",
    "with_two_logits",
)
