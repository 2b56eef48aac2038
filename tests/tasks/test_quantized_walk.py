"""Walks on a grid against their exact laws, closed forms and float64 loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import rounding_chain, sgd_noise
from nfnets_jax.tasks import quantized_walk
from nfnets_jax.training import loop

QUADRATIC = {"function": "quadratic", "noise_std": 1.0, "start": 0.0,
             "quantization": {"delta": 1.0, "lower": -6.0, "upper": 6.0}}


def experiment_of(quantization=(), **changes):
    config = config_lib.default_config("quantized_walk")
    config.update(changes)
    config.quantization.update(dict(quantization))
    return tasks.create(config_lib.check_config(config, 4))


def quadratic(quantization=(), **changes):
    return experiment_of({**QUADRATIC["quantization"], **dict(quantization)},
                         **{k: v for k, v in {**QUADRATIC, **changes}.items()
                            if k != "quantization"})


def ends(experiment, rates):
    """The last evaluation for each of the learning rates: name -> [rates]."""
    functions = loop.run_functions(experiment.task)

    def run(rate):
        state = functions.init(3, {**experiment.hyper, "learning_rate": rate})
        state, _ = jax.lax.scan(lambda state, _: functions.step(state, ()), state,
                                length=experiment.total_steps)
        return functions.evaluate(state, ())

    found = jax.jit(jax.vmap(run))(jnp.asarray(rates, jnp.float32))
    return {name: np.asarray(value, float) for name, value in found.items()}


def shares_of(found):
    names = [name for name in found if name.startswith(quantized_walk.SHARE)]
    points = np.array([float(name.removeprefix(quantized_walk.SHARE)) for name in names])
    order = np.argsort(points)
    return points[order], np.stack([found[names[i]] for i in order], axis=-1)


def test_walks_have_the_law_of_the_chain():
    found = ends(quadratic(num_walks=1500, num_steps=1000, num_discarded=200,
                           quantization={"lower": -2.0, "upper": 3.0}), [0.1])
    points, shares = shares_of(found)
    law = rounding_chain.stationary(rounding_chain.transition_matrix(
        points, points - 0.3, 0.1, rounding_chain.Gaussian(1.0)))
    np.testing.assert_array_equal(points, np.arange(-2, 4))
    assert rounding_chain.total_variation(shares[0], law) < 0.005
    np.testing.assert_allclose(found["mean_loss"], 0.5 * law @ (points - 0.3) ** 2, rtol=0.01)
    np.testing.assert_allclose(found["mean_weight"], found["mean_latent"])


@pytest.mark.parametrize("rounding, means, variances", [
    ("stochastic", (.300, .300, .300), (.2061, .0619, .0182)),
    ("deterministic", (.307, .395, .468), None)])
def test_full_precision_weights_of_binary_connect(rounding, means, variances):
    """They are unbiased with stochastic rounding; with the other they go to the threshold 1/2."""
    found = ends(quadratic(
        {"method": "binary_connect", "rounding": rounding}, num_walks=1000, num_steps=1500,
        num_discarded=500), (0.3, 0.1, 0.03))
    np.testing.assert_allclose(found["mean_latent"], means, atol=0.004)
    np.testing.assert_allclose(found["mean_weight"], 0.3, atol=0.01)  # no drift: E[Q(w)] = w*
    if variances:
        np.testing.assert_allclose(found["latent_square"], variances, rtol=0.02)


def test_without_rounding_it_is_sgd():
    found = ends(quadratic({"method": "none"}, num_walks=1000, num_steps=600, num_discarded=300,
                           curvature=0.5), (1.0, 0.1))
    np.testing.assert_allclose(found["latent_square"], sgd_noise.stationary_variance(
        0.5, 1.0, np.array([1.0, 0.1]), 0.0, 1), rtol=0.03)
    np.testing.assert_allclose(found["mean_loss"], 0.25 * found["latent_square"], rtol=1e-4)


def test_averages_are_those_of_the_path():
    experiment = quadratic({"method": "binary_connect", "delta": 0.5}, num_dimensions=2,
                           minimizer_spread=0.4, num_walks=3, num_steps=9, num_discarded=4,
                           optimizer={"decay": "inverse_sqrt"})
    center = 0.3 + np.random.RandomState(0).uniform(-0.4, 0.4, 2)
    functions = loop.run_functions(experiment.task)
    step = jax.jit(functions.step)
    state, path = functions.init(0, {"learning_rate": 0.7, "noise_std": 2.0}), []
    for _ in range(9):
        state, metrics = step(state, ())
        path.append((np.asarray(state.task.weights, float),
                     np.asarray(state.task.opt_state.latent, float)))
    weights, latent = (np.stack(x)[4:] for x in zip(*path, strict=True))
    assert np.ptp(weights) > 1 and set(np.unique(weights % 0.5)) == {0.0}
    np.testing.assert_array_equal(weights, np.sign(latent) * np.floor(2 * np.abs(latent) + 0.5) / 2)

    def loss(w):
        return 0.5 * np.sum((w - center) ** 2, axis=-1).mean()

    found = functions.evaluate(state, ())
    expected = {"loss": loss(weights[-1]), "mean_loss": loss(weights),
                "loss_of_mean": loss(latent.mean(axis=0)), "mean_weight": weights.mean(),
                "mean_latent": latent.mean(), "latent_square": np.mean((latent - center) ** 2),
                "count": 1.0}
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(metrics["loss"], loss(path[-2][0]), rtol=1e-5)
    np.testing.assert_allclose(metrics["learning_rate"], 0.7 / 3, rtol=1e-6)


@pytest.mark.parametrize("method", ["deterministic", "stochastic"])
def test_steps_without_noise(method):
    # Steps of whole distances are made by both; steps of less than half of one by neither, if the
    # rounding is deterministic.
    whole = ends(quadratic({"method": method, "lower": -9.0, "upper": 9.0}, noise_std=0.0,
                           start=8.0, minimizer=0.0, num_walks=50, num_steps=2,
                           num_discarded=1), [0.5, 0.05])
    assert whole["mean_weight"][0] == 2.0
    assert (whole["mean_weight"][1] == 8.0) == (method == "deterministic")


def test_learning_rate_decays():
    steps = np.arange(6.0)
    np.testing.assert_allclose(
        quantized_walk.DECAYS["inverse_sqrt"](steps), [1, .707107, .57735, .5, .447214, .408248],
        rtol=1e-5)
    found = ends(quadratic({"method": "none"}, noise_std=0.0, start=5.0, num_steps=6,
                           optimizer={"decay": "inverse"}), [0.4])
    np.testing.assert_allclose(
        found["loss"], 0.5 * (4.7 * np.prod(1 - 0.4 / (steps + 1))) ** 2, rtol=1e-5)


def test_wells():
    function = quantized_walk.wells()
    w = np.array([-2.0, 0.0, 0.9, 1.0, 2.5, 3.4, 3.5, 4.5, 5.0, 9.0])
    value = [6, 2, 2.81, 3, .75, 1.56, 1.7525, .2525, .2525, 18.2525]
    np.testing.assert_allclose(function.value(w[:, None]), value, rtol=1e-6)
    np.testing.assert_allclose(function.gradient(w[:, None])[:, 0],
                               [-4, 0, 1.8, -3, 0, 1.8, -2.5, -.5, .5, 8.5], atol=1e-6)


@pytest.mark.parametrize("quantization, changes, words", [
    ({}, {"num_dimensions": 2}, "num_dimensions=2: the wells have one dimension"),
    ({}, {"num_steps": 5, "num_discarded": 5}, "num_discarded=5: must be less than num_steps=5"),
    ({"rounding": "stochastic"}, {}, "quantization.rounding='stochastic': belongs to"),
    ({"upper": 4.75}, {}, "quantization.upper=4.75: not a multiple of delta=0.5"),
    ({"upper": 3.0}, {}, "start=4: must be between"),
    ({"delta": 2.0**-10}, {}, "quantization.delta=0.000976562: there would be more than 4096"),
    ({}, {"num_walks": 2**12, "num_steps": 2**19 + 1, "num_discarded": 1},
     "num_walks=4096: times the 524288 steps that are counted, .* use at most 4095")])
def test_what_does_not_fit_is_refused(quantization, changes, words):
    with pytest.raises(config_lib.ConfigError, match=words):
        experiment_of(quantization, **changes)
