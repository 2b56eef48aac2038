"""Hessian products beside gradients, and Lanczos iterations beside the products they consist of.

Part of `python -m benchmarks.analysis`. Losses on scikit-learn's digits: the cross-entropy of a
VGG and of an NF-ResNet, and an autoencoder with 5 hidden layers of 128 and tied weights. A product
takes 8 convolutions where a gradient takes 3, and 9 with weight standardization, through which the
kernel's gradient, too, is differentiated.
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

from benchmarks import timing
from nfnets_jax import nets
from nfnets_jax.analysis import curvature

NUM_PRODUCTS = 20
ROUNDS = 3


def measure() -> dict[str, tuple[float, str]]:
    """Rows of `timing.report`; those of the VGG are `hvp_vs_grad` and `lanczos_overhead`."""
    digits = load_digits()
    examples = {"image": digits.images[:1437, ..., None].astype("float32") / 16,
                "label": digits.target[:1437]}
    batches = curvature.split(examples, 479)
    few = curvature.split(jax.tree.map(lambda x: x[:128], examples), 128)
    vgg, autoencoder = _network("vgg_digits"), _autoencoder()
    return {
        "hvp_vs_grad": _compare_product(*vgg, batches),
        "hvp_vs_grad_nf_resnet": _compare_product(*_network("nf_resnet_digits"), few),
        "hvp_vs_grad_autoencoder": _compare_product(*autoencoder, batches),
        "lanczos_overhead": _compare_lanczos(*vgg, batches),
        "lanczos_overhead_autoencoder": _compare_lanczos(*autoencoder, batches),
    }


def _network(name: str) -> tuple[curvature.Losses, Any]:
    """Losses and parameters of a classifier of digits."""
    network = nets.create(name, num_classes=10)
    params, state = network.init(jax.random.key(0), jnp.zeros((2, 8, 8, 1)), is_training=True)

    def losses(params, batch):
        outputs, _ = network.apply(params, state, None, batch["image"], is_training=False)
        return optax.softmax_cross_entropy_with_integer_labels(outputs["logits"], batch["label"])

    return losses, params


def _autoencoder() -> tuple[curvature.Losses, Any]:
    """Squared errors and parameters of an autoencoder."""
    shapes = [(64, 128), (128, 128), (128, 128)]
    init = jax.nn.initializers.glorot_uniform()
    params = [init(key, shape)
              for key, shape in zip(jax.random.split(jax.random.key(0), 3), shapes, strict=True)]

    def losses(params, batch):
        pixels = batch["image"].reshape(-1, 64)
        hidden = pixels
        for w in params:
            hidden = jax.nn.relu(hidden @ w)
        for w in params[:0:-1]:
            hidden = jax.nn.relu(hidden @ w.T)
        return jnp.sum(jnp.square(hidden @ params[0].T - pixels), -1)

    return losses, params


def _products(losses):
    return jax.jit(functools.partial(curvature.hessian_product, losses))


def _compare_product(losses, params, batches) -> tuple[float, str]:
    """A product beside a gradient."""
    batches, vector = jax.device_put(batches), jax.tree.map(jnp.ones_like, params)
    multiply, gradient = _products(losses), jax.jit(functools.partial(curvature.gradient, losses))
    ratios, milliseconds = _alternate(
        lambda: multiply(params, batches, vector), lambda: gradient(params, batches))
    return timing.median(ratios), f"x a gradient of {milliseconds:.0f} ms; {timing.spread(ratios)}"


def _compare_lanczos(losses, params, batches) -> tuple[float, str]:
    """Lanczos iterations beside as many products."""
    batches, vector = jax.device_put(batches), jax.tree.map(jnp.ones_like, params)
    multiply, key = _products(losses), jax.random.key(0)
    iterate = jax.jit(lambda params, batches, key: curvature.lanczos(
        lambda vector: curvature.hessian_product(losses, params, batches, vector),
        params, key, NUM_PRODUCTS).values)

    def products():
        for _ in range(NUM_PRODUCTS):
            product = multiply(params, batches, vector)
        return product

    ratios, milliseconds = _alternate(lambda: iterate(params, batches, key), products)
    size = sum(x.size for x in jax.tree.leaves(params))
    return timing.median(ratios), (
        f"x {NUM_PRODUCTS} products of {milliseconds / NUM_PRODUCTS:.0f} ms, {size} parameters; "
        + timing.spread(ratios))


def _alternate(between, around) -> tuple[list[float], float]:
    """Paired ratios of the times of two functions, and the median time of the second in ms."""
    def milliseconds(function):
        start = time.perf_counter()
        jax.block_until_ready(function())
        return 1e3 * (time.perf_counter() - start)

    milliseconds(between), milliseconds(around)
    outer, inner = [milliseconds(around)], []
    for _ in range(ROUNDS):
        inner.append(milliseconds(between))
        outer.append(milliseconds(around))
    return timing.paired_ratios(inner, outer), timing.median(outer)
