"""SGD against a loop in float64, and what weight decay leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax import nets, optim


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_matches_its_formula_in_float64(nesterov):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(5, 3))
    weight, decay, momentum, rate = rng.normal(size=3), 0.1, 0.9, 0.05
    optimizer = optim.sgd(rate, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    params = {"layer": {"w": jnp.asarray(weight, jnp.float32)}}
    state = optimizer.init(params)
    trace = np.zeros(3)
    for gradient in gradients:
        total = gradient + decay * weight
        trace = momentum * trace + total
        weight = weight - rate * (total + momentum * trace if nesterov else trace)
        updates, state = optimizer.update(
            {"layer": {"w": jnp.asarray(gradient, jnp.float32)}}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["layer"]["w"], weight, rtol=2e-6)


@pytest.mark.parametrize("name, arguments", [
    ("nf_resnet_digits", {"use_se": True}), ("bn_resnet_digits", {"use_se": True}),
    ("skipinit_resnet_digits", {}), ("fixup_resnet_digits", {})])
def test_weight_decay_reaches_exactly_the_kernels(name, arguments):
    network = nets.create(name, 10, **arguments)
    params, _ = jax.eval_shape(
        lambda key: network.init(key, jnp.zeros((2, 8, 8, 1)), True), jax.random.key(0))
    mask = optim.decay_mask(params)
    decayed = {leaf for m in params for leaf in params[m] if mask[m][leaf]}
    spared = {leaf for m in params for leaf in params[m] if not mask[m][leaf]}
    assert decayed == {"w"} and "w" not in spared
