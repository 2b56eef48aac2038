"""What is written another way on CPUs, against XLA's own, with gradients."""

import itertools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.nets import conv as conv_lib
from nfnets_jax.nets.conv import conv, max_pool


@pytest.mark.parametrize("groups, channels, outputs, size", [
    (2, 8, 6, (7, 8)), (3, 9, 12, (5, 5)), (16, 32, 16, (6, 7))])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 1), (1, 1))])
def test_grouped_convolutions_are_xlas(
        groups, channels, outputs, size, stride, kernel_size, padding):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, channels)), jnp.float32)
    w = jnp.asarray(
        rng.normal(size=(kernel_size, kernel_size, channels // groups, outputs)), jnp.float32)

    def with_gradients(function):
        def loss(x, w):
            y = function(x, w)
            return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape)))
        return function(x, w), *jax.grad(loss, argnums=(0, 1))(x, w)

    ours = with_gradients(lambda x, w: conv_lib.conv(x, w, stride, padding, groups))
    theirs = with_gradients(lambda x, w: jax.lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("stride", "kernel_size", "padding", "groups"), [
    *itertools.product((1, 2), (1, 3, 4), ("SAME", "VALID"), (1,)),
    (3, 4, ((1, 1), (2, 0)), 1), (2, 3, ((0, 2), (1, 1)), 2)])
def test_convolutions_for_loops_are_xlas(stride, kernel_size, padding, groups):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 7, 10, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(kernel_size, kernel_size, 4 // groups, 6)), jnp.float32)

    def gradients(x, w):
        def loss(x, w):
            return jnp.sum(jnp.sin(conv(x, w, stride, padding, groups)))
        return conv(x, w, stride, padding, groups), *jax.grad(loss, argnums=(0, 1))(x, w)

    expected = gradients(x, w)
    with conv_lib.for_loops():
        got = gradients(x, w)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_gradients_of_gradients_for_loops_are_xlas():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 7, 10, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 4, 6)), jnp.float32)

    def norm(x, w):
        grads = jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a, stride=2))), (0, 1))(x, w)
        return sum(jnp.sum(jnp.square(g)) for g in grads)

    expected = jax.jit(jax.grad(norm, (0, 1)))(x, w)
    with conv_lib.for_loops():
        got = jax.jit(jax.grad(lambda *a: norm(*a), (0, 1)))(x, w)  # traced anew
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_other_platforms_get_xlas_own():
    x, w = jnp.zeros((1, 8, 8, 32)), jnp.zeros((3, 3, 2, 32))
    exported = jax.export.export(
        jax.jit(lambda x, w: conv_lib.conv(x, w, groups=16)), platforms=["tpu"])(x, w)
    assert "feature_group_count = 16" in exported.mlir_module()
    assert "dot_general" not in exported.mlir_module()


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (2, 3), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", ((1, 1), (1, 1))])
def test_convolutions_of_images_smaller_than_the_kernel_are_xlas(size, stride, padding):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, *size, 5)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 5, 4)), jnp.float32)

    def with_gradients(function):
        def loss(x, w):
            return jnp.sum(jnp.sin(function(x, w)))
        return function(x, w), *jax.grad(loss, argnums=(0, 1))(x, w)

    ours = with_gradients(lambda x, w: conv(x, w, stride, padding))
    xlas = with_gradients(lambda x, w: jax.lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")))
    for a, b in zip(ours, xlas, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 9), (7, 7), (1, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_max_pool_and_its_gradient_are_xlas_also_where_values_are_equal(size, padding):
    rng = np.random.default_rng(0)
    if padding == "VALID":
        size = tuple(max(3, s) for s in size)
    x = jnp.asarray(rng.integers(-2, 3, (3, *size, 5)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=1000), jnp.float32)

    def with_gradient(function):
        def loss(x):
            y = function(x)
            return jnp.sum(y * weights[:y.size].reshape(y.shape))
        return function(x), jax.grad(loss)(x)

    ours = with_gradient(lambda x: max_pool(x, 3, 2, padding))
    xlas = with_gradient(lambda x: hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), padding))
    np.testing.assert_array_equal(ours[0], xlas[0])
    np.testing.assert_allclose(ours[1], xlas[1], atol=1e-6)
