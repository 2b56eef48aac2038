"""The noisy quadratic against its recursion in float64, its closed forms and its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import sgd_noise
from nfnets_jax.tasks import noisy_quadratic
from nfnets_jax.training import loop
from tests.analysis.test_sgd_noise import second_moments


def experiment_of(**changes):
    config = config_lib.default_config("noisy_quadratic")
    config.update(changes)
    return tasks.create(config_lib.check_config(config, 4))


def run(experiment, learning_rate, momentum=0.0, seed=0):
    """Final state and the losses of all steps, the final one last; everything may be traced."""
    functions = loop.run_functions(experiment.task)
    state = functions.init(seed, {"learning_rate": jnp.float32(learning_rate),
                                  "momentum": jnp.float32(momentum)})
    state, metrics = jax.lax.scan(
        lambda state, _: functions.step(state, ()), state, length=experiment.total_steps)
    last = functions.evaluate(state, ())
    return state.task, jnp.append(metrics["loss"], last["loss"] / last["count"])


def expected_losses(learning_rate, momentum, batch_size, steps, d=100, p=1, q=1):
    """Float64 numpy, with the halving schedule in whole numbers."""
    i = np.arange(1, d + 1.0)
    h, c = i**-p, i**-q
    tt, tv, vv = np.ones(d), np.zeros(d), np.zeros(d)
    losses = [0.5 * np.sum(h * tt)]
    for t in range(steps):
        eps = learning_rate * 0.5 ** max(0, 20 * t // steps - 9)
        new_vv = momentum**2 * vv + 2 * momentum * h * tv + h * h * tt + c / batch_size
        cross = momentum * tv + h * tt
        tt, tv, vv = (tt - 2 * eps * cross + eps**2 * new_vv, cross - eps * new_vv, new_vv)
        losses.append(0.5 * np.sum(h * tt))
    return np.array(losses)


@pytest.mark.parametrize("momentum, learning_rate", [(0.0, 0.8), (0.9, 0.1)])
def test_recursion_is_that_of_float64(momentum, learning_rate):
    experiment = experiment_of(batch_size=16, num_epochs=4.0, curvature_exponent=1.5,
                               noise_exponent=0.5, num_dimensions=30)
    assert experiment.total_steps == 256
    _, losses = jax.jit(lambda: run(experiment, learning_rate, momentum))()
    np.testing.assert_allclose(
        losses, expected_losses(learning_rate, momentum, 16, 256, 30, 1.5, 0.5), rtol=2e-5)


def test_regimes_of_the_batch_size():
    """The best of the learning rates 2^(j/4), as j, and its loss: found by another program."""
    found = {}
    for batch_size in (16, 32, 64, 1024):
        experiment = experiment_of(batch_size=batch_size)
        rates = 2.0 ** (np.arange(-8, 9) / 4)
        losses = np.array(jax.jit(jax.vmap(lambda rate, e=experiment: run(e, rate)[1]))(rates))
        np.testing.assert_allclose(losses[:, 0], 2.5937, atol=5e-5)
        final = np.where(np.nanmax(losses, axis=1) > 10 * losses[:, 0], np.inf, losses[:, -1])
        best = int(np.argmin(final))
        found[batch_size] = (best - 8, final[best])
        np.testing.assert_allclose(
            final[best],
            expected_losses(rates[best], 0.0, batch_size, experiment.total_steps)[-1], rtol=1e-4)
    assert [j for j, _ in found.values()] == [-1, 3, 4, 4]
    np.testing.assert_allclose([loss for _, loss in found.values()],
                               [0.01686, 0.01690, 0.02076, 0.62126], rtol=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_constant_learning_rate_ends_at_the_stationary_variance(momentum):
    experiment = experiment_of(
        num_dimensions=3, batch_size=8, num_steps=3000,
        schedule={"name": "constant", "final_fraction": 1.0})
    state, _ = jax.jit(lambda: run(experiment, 0.5, momentum))()
    h = c = 1 / np.arange(1, 4.0)
    np.testing.assert_allclose(state.moments[:, 0, 0], sgd_noise.stationary_variance(
        h, c, 0.5, momentum, 8), rtol=2e-5)
    for i in range(3):
        np.testing.assert_allclose(
            state.moments[i], second_moments(h[i], c[i], 0.5, momentum, 8, 3000, 1.0), rtol=1e-4)


def test_mean_of_samples_is_the_expectation():
    arguments = dict(num_dimensions=10, batch_size=2, num_steps=40)
    _, expected = jax.jit(lambda: run(experiment_of(**arguments), 0.3, 0.5))()
    sampled = experiment_of(**arguments, mode="sampled")
    states, losses = jax.jit(jax.vmap(lambda seed: run(sampled, 0.3, 0.5, seed)))(
        jnp.arange(4000, dtype=jnp.uint32))
    errors = np.std(losses, axis=0) / np.sqrt(4000)
    z = (np.mean(losses, axis=0) - expected)[1:] / errors[1:]
    assert np.max(np.abs(z)) < 4 and errors[-1] < 0.02 * expected[-1]
    # Each dimension has noise of its own.
    theta = np.asarray(states.moments[:, :, 0], float)
    correlation = np.corrcoef(theta.T) - np.eye(10)
    assert np.max(np.abs(correlation)) < 4.5 / np.sqrt(4000)


def quiet_task(curvature, start=1.0, mode="sampled"):
    return noisy_quadratic.create_task(
        curvature=np.array(curvature), noise_variance=np.zeros(len(curvature)), start=start,
        schedule=lambda step: 1.0, mode=mode)


@pytest.mark.parametrize("mode", ["sampled", "expected"])
def test_without_noise_theta_decays_geometrically(mode):
    task = quiet_task([1.0, 0.5, 0.1], start=2.0, mode=mode)
    state = task.init(jax.random.key(0), {"learning_rate": 0.4, "momentum": 0.0})
    for step in range(5):
        state, metrics = task.step(state, (), jax.random.key(step))
        theta = 2.0 * (1 - 0.4 * np.array([1.0, 0.5, 0.1])) ** step
        np.testing.assert_allclose(
            metrics["loss"], 0.5 * np.sum([1.0, 0.5, 0.1] * theta**2), rtol=1e-5)


@pytest.mark.parametrize("mode", ["sampled", "expected"])
def test_inverse_curvature_ends_in_one_step(mode):
    task = quiet_task([0.5], mode=mode)
    state = task.init(jax.random.key(0), {"learning_rate": 2.0, "momentum": 0.0})
    state, metrics = task.step(state, (), jax.random.key(1))
    assert metrics["loss"] == 0.25 and task.evaluate(state, ())["loss"] == 0.0


def test_budgets_and_their_errors():
    assert experiment_of(batch_size=48, num_epochs=3.0).total_steps == 64
    assert experiment_of(num_steps=7).total_steps == 7
    for changes, words in (
            ({"batch_size": 4096, "num_epochs": 1.0}, "num_epochs=1: less than one step"),
            ({"num_steps": 5, "schedule": {"warmup_steps": 5}}, "schedule.warmup_steps=5"),
            ({"schedule": {"final_fraction": 0.5}}, "schedule.final_fraction=0.5")):
        with pytest.raises(config_lib.ConfigError, match=words):
            experiment_of(**changes)
