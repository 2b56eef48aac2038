"""SGD on linear models against float64 and the closed forms of `analysis.confusion_theory`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import confusion_theory
from nfnets_jax.tasks import linear_model


def make(**changes):
    config = config_lib.default_config("linear_model")
    config.update({"num_examples": 6, "num_dimensions": 9, "num_steps": 40, **changes})
    return tasks.create(config_lib.check_config(config, 1))


def init(experiment, seed=0, learning_rate=0.5):
    return experiment.task.init(
        jax.random.key(seed), {"learning_rate": jnp.float32(learning_rate)})


@pytest.mark.parametrize("loss", linear_model.LOSSES)
def test_steps_and_gradients_are_those_of_float64(loss):
    experiment = make(inputs="sphere", loss=loss, batch_size=3)
    state = init(experiment)
    x, y = (np.asarray(a, float) for a in (state.inputs, state.labels))
    np.testing.assert_allclose(np.sum(x * x, -1), 1, rtol=1e-6)
    assert set(np.abs(y)) == {1.0} or loss == "squared"
    w, step = np.zeros(9), jax.jit(experiment.task.step)

    def slopes():  # of the losses in the outputs
        return x @ w - y if loss == "squared" else -y / (1 + np.exp(y * (x @ w)))

    for number in range(5):
        key = jax.random.key(number)
        ids = np.asarray(jax.random.randint(key, (3,), 0, 6))
        state, _ = step(state, (), key)
        w = w - 0.5 * np.mean(slopes()[ids, None] * x[ids], axis=0)
    np.testing.assert_allclose(state.weights, w, rtol=1e-5, atol=1e-7)
    values = (x @ w - y) ** 2 / 2 if loss == "squared" else np.log1p(np.exp(-y * (x @ w)))
    evaluated = experiment.task.evaluate(state, ())
    np.testing.assert_allclose(evaluated["loss"] / evaluated["count"], values.mean(), rtol=1e-5)

    params, losses, examples = experiment.objective[:3]
    jacobian = np.asarray(jax.jacobian(losses)(params(state), state, examples(4), True), float)
    np.testing.assert_allclose(jacobian, (slopes()[:, None] * x)[:4], rtol=1e-5, atol=1e-7)
    # Cosines are those of the inputs, up to the signs of the residuals.
    normalized = jacobian / np.linalg.norm(jacobian, axis=-1, keepdims=True)
    signs = np.sign(slopes())[:4]
    np.testing.assert_allclose(
        normalized @ normalized.T, np.outer(signs, signs) * (x @ x.T)[:4, :4], atol=1e-5)


def test_orthonormal_inputs_decouple():
    experiment = make(num_examples=10, num_dimensions=12, inputs="orthonormal")

    @jax.vmap
    def run(seed):
        state = init(experiment, seed)
        first = experiment.task.evaluate(state, ())["loss"]
        keys = jax.random.split(jax.random.key(seed + 10_000), 40)
        state, _ = jax.lax.scan(lambda s, key: (experiment.task.step(s, (), key)[0], None),
                                state, keys)
        return experiment.task.evaluate(state, ())["loss"] / (2 * first), state.inputs

    losses, inputs = jax.jit(run)(jnp.arange(2000))
    np.testing.assert_allclose(
        inputs[:5] @ inputs[:5].swapaxes(1, 2), np.broadcast_to(np.eye(10), (5, 10, 10)), atol=1e-5)
    expected = confusion_theory.orthonormal_loss(0.5, 40, num_examples=10, learning_rate=0.5)
    assert np.mean(losses) == pytest.approx(expected, rel=0.05)


def test_gaussian_inputs_have_the_variance_1():
    x, y = linear_model.draw_problem(jax.random.key(3), 200, 100, "gaussian", "squared")
    moments = [x.mean(), x.var(), y.mean(), y.var()]
    assert np.all(np.abs(np.subtract(moments, [0, 1, 0, 1])) < [0.03, 0.04, 0.3, 0.3])


def test_more_orthonormal_inputs_than_dimensions_are_refused():
    with pytest.raises(config_lib.ConfigError, match="num_examples=10: at most num_dimensions=9"):
        make(num_examples=10, inputs="orthonormal")
