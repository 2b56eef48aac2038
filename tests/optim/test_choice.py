"""Optimizers by the name that a config gives them, and what each of them reads."""

import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import optim, sweeps
from nfnets_jax.config import ConfigError, check_config, default_config
from nfnets_jax.sweeps.plan import make_plan
from nfnets_jax.tasks import autoencoding, classification

RATE, DECAY = 0.1, 0.5
W, B, G_W, G_B = 2.0, 3.0, 0.75, -0.25


def config_of(task="autoencoding", **optimizer):
    config = default_config(task)
    config.dataset.name = "digits"
    config.network.update({"name": "mlp"} if task == "classification" else {})
    config.optimizer.update(optimizer)
    return config


def first_step(task, **optimizer):
    """The first update of a weight and of a bias."""
    module = {"autoencoding": autoencoding, "classification": classification}[task]
    checked = check_config(config_of(task, learning_rate=RATE, weight_decay=DECAY, **optimizer), 1)
    chosen = optim.optimizer_of(checked["optimizer"])(RATE, module.read_hyper(checked))
    params = {"layer": {"w": jnp.float32(W), "b": jnp.float32(B)}}
    grads = {"layer": {"w": jnp.float32(G_W), "b": jnp.float32(G_B)}}
    updates, _ = chosen.update(grads, chosen.init(params), params)
    return np.array([updates["layer"]["w"], updates["layer"]["b"]])


G = np.array([G_W + DECAY * W, G_B])  # biases are not decayed
FIRST_STEPS = {
    "sgd": ({"nesterov": False}, G),
    "nag": ({"momentum": 0.5}, 1.5 * G),
    "rmsprop": ({"beta2": 0.96, "xi": 1.0}, G / np.sqrt(0.04 * (G**2 + 1.0))),
    "adam": ({"beta1": 0.8, "beta2": 0.96, "xi": 1.0, "bias_terms": False},
             0.2 * G / (np.sqrt(0.04) * np.abs(G) + 1.0)),
}


@pytest.mark.parametrize("task", ["autoencoding", "classification"])
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_first_step_with_l2_regularisation(name, task):
    fields, expected = FIRST_STEPS[name]
    np.testing.assert_allclose(first_step(task, name=name, **fields), -RATE * expected, rtol=1e-5)


def test_defaults_are_those_of_the_task():
    assert np.allclose(first_step("classification"), -RATE * 1.9 * G)
    assert np.allclose(first_step("autoencoding"), -RATE * G)
    adam = check_config(config_of("classification", name="adam"), 1)
    assert {key: adam["optimizer"][key] for key in (
        "beta1", "beta2", "xi", "bias_terms", "momentum", "nesterov")} == {
            "beta1": 0.9, "beta2": 0.999, "xi": 1e-8, "bias_terms": True, "momentum": None,
            "nesterov": None}
    assert set(classification.read_hyper(adam)) == {
        "learning_rate", "beta1", "beta2", "xi", "weight_decay", "label_smoothing"}


@pytest.mark.parametrize("fields, message", [
    ({"name": "adam", "momentum": 0.9},
     "optimizer.momentum=0.9: adam has none; unset it, or set optimizer.name to sgd or nag"),
    ({"beta2": 0.9}, "optimizer.beta2=0.9: sgd has none; .* to rmsprop or adam"),
    ({"name": "nag", "nesterov": True}, "optimizer.nesterov=True: nag has none; .* to sgd"),
    ({"name": "rmsprop", "bias_terms": False}, "optimizer.bias_terms=False: .* to adam"),
    ({"name": "adamw"}, "optimizer.name='adamw': must be one of sgd, nag, rmsprop, adam"),
    ({"name": "adam", "beta1": 1.0}, "optimizer.beta1=1.0: must be .* below 1"),
])
def test_what_an_optimizer_does_not_have_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        check_config(config_of(**fields), 1)


def test_the_numbers_of_an_optimizer_are_traced_its_name_is_not():
    plan = make_plan(config_of(), sweeps.product(
        [{"optimizer.name": "adam", "optimizer.beta1": beta1, "optimizer.xi": xi}
         for beta1 in (0.9, 0.99) for xi in (1e-8, 1e-2)]
        + [{"optimizer.name": "nag", "optimizer.momentum": 0.9},
           {"optimizer.name": "adam", "optimizer.bias_terms": False}],
        {"optimizer.learning_rate": (1e-3, 1e-2)}))
    assert [len(program.cells) for program in plan.programs] == [8, 2, 2]
