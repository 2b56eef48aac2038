"""The diagonal linear network against float64 numpy, and its problems against their law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.tasks import diagonal_linear
from nfnets_jax.training import loop

SHAPE = dict(num_examples=12, num_dimensions=20, num_nonzero=3)


def make_task(batch_size, **shape):
    return diagonal_linear.create_task(
        **{**SHAPE, **shape}, batch_size=batch_size, schedule=lambda step: 0.5 ** step)


def init(task, learning_rate=0.1, momentum=0.5, start=0.3, seed=0):
    return task.init(jax.random.key(seed), {
        "learning_rate": jnp.float32(learning_rate), "momentum": jnp.float32(momentum),
        "start": jnp.float32(start)})


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_steps_are_those_of_float64(batch_size):
    task = make_task(batch_size)
    state = init(task)
    x, y = (np.asarray(a, float) for a in (state.problem.x, state.problem.targets))
    u, v = np.full(20, 0.3), np.full(20, 0.3)
    trace_u, trace_v = np.zeros(20), np.zeros(20)
    for step in range(6):
        key = jax.random.key(100 + step)
        ids = np.asarray(diagonal_linear.draw_ids(key, 12, batch_size))
        residual = x[ids] @ (u * u - v * v) - y[ids]
        state, metrics = jax.jit(task.step)(state, (), key)
        np.testing.assert_allclose(
            metrics["loss"], np.sum(residual**2) / (4 * batch_size), rtol=1e-5)
        correlation = x[ids].T @ residual / batch_size
        trace_u, trace_v = 0.5 * trace_u + u * correlation, 0.5 * trace_v - v * correlation
        rate = 0.1 * 0.5**step
        np.testing.assert_allclose(metrics["learning_rate"], rate, rtol=1e-6)
        u, v = u - rate * trace_u, v - rate * trace_v
    np.testing.assert_allclose(state.params["u"], u, rtol=1e-5)
    np.testing.assert_allclose(state.params["v"], v, rtol=1e-5)
    evaluated = task.evaluate(state, ())
    assert evaluated["count"] == 1
    np.testing.assert_allclose(
        evaluated["loss"], np.sum((x @ (u * u - v * v) - y) ** 2) / 48, rtol=1e-5)
    np.testing.assert_allclose(
        evaluated["test_error"], np.sum((u * u - v * v - state.problem.truth) ** 2), rtol=1e-5)


def test_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 6)), rng.normal(size=4)
    params = {name: rng.normal(size=6) for name in "uv"}

    def loss(u, v):
        return np.sum((x @ (u * u - v * v) - y) ** 2) / 16

    grads = jax.grad(diagonal_linear.loss_fn)(
        *jax.tree.map(jnp.float32, (params, x, y)))
    for i in range(6):
        shift = 1e-5 * np.eye(6)[i]
        for name, shifts in (("u", (shift, 0 * shift)), ("v", (0 * shift, shift))):
            u, v = params["u"], params["v"]
            difference = loss(u + shifts[0], v + shifts[1]) - loss(u - shifts[0], v - shifts[1])
            np.testing.assert_allclose(grads[name][i], difference / 2e-5, rtol=1e-4)


def test_full_batch_does_not_depend_on_the_draws_and_smaller_ones_do():
    for batch_size, differ in ((12, False), (11, True)):
        task = make_task(batch_size)
        results = [task.step(init(task), (), jax.random.key(k))[0].params["u"] for k in (1, 2)]
        assert (np.max(np.abs(results[0] - results[1])) > 1e-6) == differ


def test_examples_are_drawn_evenly_and_never_twice():
    draws = np.asarray(jax.vmap(lambda key: diagonal_linear.draw_ids(key, 12, 5))(
        jax.random.split(jax.random.key(0), 4000)))
    assert all(len(set(ids)) == 5 for ids in draws.tolist())
    counts = np.bincount(draws.reshape(-1), minlength=12)
    variance = 4000 * 5 / 12 * 7 / 12
    assert np.max(np.abs(counts - 4000 * 5 / 12)) < 4 * np.sqrt(variance)


def test_each_seed_has_a_sparse_problem_of_its_own():
    draw = jax.vmap(lambda key: diagonal_linear.draw_problem(key, 40, 100, 5))
    problems = draw(jax.random.split(jax.random.key(0), 200))
    truth = np.asarray(problems.truth)
    np.testing.assert_array_equal(np.sum(np.abs(truth) == 1, axis=1), 5)
    np.testing.assert_array_equal(np.sum(truth == 0, axis=1), 95)
    assert abs(np.sum(truth)) < 4 * np.sqrt(1000)  # as many +1 as -1
    assert np.max(np.sum(np.abs(truth), axis=0)) < 10 + 5 * np.sqrt(10)  # anywhere
    x = np.asarray(problems.x, float)
    np.testing.assert_allclose([x.mean(), x.var()], [0, 1], atol=0.005)
    np.testing.assert_allclose(
        problems.targets, np.einsum("snd,sd->sn", x, truth), atol=1e-5)
    assert len({tuple(t) for t in truth.tolist()}) == 200


def test_noise_of_small_batches_finds_the_sparser_solution():
    """At the same number of steps and no training loss left, batch 1 ends nearer to the truth."""
    medians = {}
    for batch_size, rate in ((1, 0.0884), (40, 0.0884)):
        config = config_lib.default_config("diagonal_linear")
        config.batch_size = batch_size
        config.num_steps = 3000
        experiment = tasks.create(config_lib.check_config(config, 1))
        functions = loop.run_functions(experiment.task)

        def run(seed, experiment=experiment, functions=functions, rate=rate):
            hyper = {**experiment.hyper, "learning_rate": rate}
            state, _ = jax.lax.scan(lambda state, _: (functions.step(state, ())[0], None),
                                    functions.init(seed, hyper), length=experiment.total_steps)
            return functions.evaluate(state, ())

        result = jax.jit(jax.vmap(run))(jnp.arange(8, dtype=jnp.uint32))
        assert np.max(result["loss"]) < 1e-4
        medians[batch_size] = np.median(result["test_error"])
    assert medians[1] < 0.6 * medians[40], medians


@pytest.mark.parametrize("changes, words", [
    ({"batch_size": 41}, "batch_size=41: must be at most num_examples=40"),
    ({"num_nonzero": 101}, "num_nonzero=101: must be at most num_dimensions=100"),
    ({"schedule": {"name": "cosine", "warmup_steps": 5000}}, "schedule.warmup_steps=5000"),
])
def test_fields_must_fit_together(changes, words):
    config = config_lib.default_config("diagonal_linear")
    config.update(changes)
    with pytest.raises(config_lib.ConfigError, match=words):
        config_lib.check_config(config, 1)
