"""What is measured of a task's loss, in runs, in populations and on checkpoints."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import diagnostics
from nfnets_jax.sweeps import plan as plan_lib
from nfnets_jax.sweeps import worker
from nfnets_jax.training import loop, mesh, metrics, preemption, workdir
from nfnets_jax.training.population_record import Runs
from tests.training import programs

MEASURES = config_lib.MEASURES
NAMES = {"min_cosine", "eta", "noise_scale", "temperature", "gradient_norm", "lambda_max"}


def students(**analysis):
    """A small network that learns from a small teacher."""
    config = config_lib.default_config("teacher_student")
    config.num_examples = 64
    config.num_dimensions = 6
    config.network.widths = (5,)
    config.batch_size = 8
    config.evaluation_batch_size = 64
    config.num_steps = 6
    config.log_every = 2
    config.analysis.measures = MEASURES
    config.analysis.num_pairs = 12
    config.analysis.num_products = 20
    config.analysis.update(analysis)
    return config_lib.check_config(config, 1)


def make(config, devices=1):
    experiment = tasks.create(config)
    grid = mesh.make_mesh(devices=jax.devices()[:devices])
    programs_of = loop.map_task(experiment.task, grid)
    state = loop.initialize(programs_of, experiment, 3).task
    return experiment, state, diagnostics.create(experiment, config, grid)


def dense(experiment, state, count=None):
    """Per-example gradients [N, P] and the Hessian [P, P] of the loss, in the plainest way."""
    objective = experiment.objective
    batch = objective.examples(count)
    flat, unravel = jax.flatten_util.ravel_pytree(objective.params(state))

    def losses(x):
        return objective.losses(unravel(x), state, batch, True)

    return (np.asarray(jax.jacrev(losses)(flat), np.float64),
            np.asarray(jax.hessian(lambda x: jnp.mean(losses(x)))(flat), np.float64))


@pytest.fixture(scope="module")
def reference():
    experiment, state, _ = make(students())
    return dense(experiment, state)


def test_minibatches_have_the_gradients_cosines_and_curvature_of_the_dense_matrices(reference):
    gradients, hessian = reference
    _, state, measured = make(students(num_pairs=400))
    found = measured.measure(state, seed=1, step=2)
    mean = gradients.mean(0)
    spread = np.sum(gradients.var(0))
    assert found.values["gradient_norm"] == pytest.approx(np.linalg.norm(mean), rel=1e-5)
    # One of 400 pairs has a relative standard deviation of about 1 / sqrt(P), P = 41.
    assert found.values["covariance_trace"] == pytest.approx(spread, rel=5 / 41**0.5 / 20)
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert found.values["lambda_min"] == pytest.approx(eigenvalues[0], abs=1e-5)
    assert found.values["lambda_max"] == pytest.approx(eigenvalues[-1], rel=1e-5)
    rng = np.random.default_rng([1, 2])
    cosines = []
    for _ in range(400):
        a, b = (gradients[rng.choice(64, 8, replace=False)].mean(0) for _ in range(2))
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    np.testing.assert_allclose(found.arrays["cosines"], cosines, atol=2e-5)
    assert found.values["min_cosine"] == pytest.approx(min(cosines), abs=2e-5)
    assert found.values["temperature"] == pytest.approx(
        float(state.hyper["learning_rate"]) / 8)  # without momentum


def test_disjoint_pairs_share_no_example_and_have_unbiased_moments(reference):
    gradients, _ = reference
    _, state, measured = make(students(
        num_pairs=400, sampling="disjoint", batch_size=32, measures=MEASURES[::2]))
    found = measured.measure(state, seed=0, step=0)
    # Two halves: the mean of their gradients is the whole gradient, in each pair.
    square = np.sum(gradients.mean(0) ** 2)
    spread = np.sum(gradients.var(0))
    assert found.values["covariance_trace"] == pytest.approx(spread, rel=5 / 41**0.5 / 20)
    assert found.values["gradient_square"] == pytest.approx(
        square, abs=5 * spread / 32 / 41**0.5 / 20)


def test_examples_have_the_gram_matrix_of_the_dense_gradients(reference):
    gradients, _ = reference
    _, state, measured = make(students(gradients="examples"))
    found = measured.measure(state, seed=0, step=0).values
    gram = gradients @ gradients.T
    norms = np.sqrt(np.diagonal(gram))
    off = ~np.eye(64, dtype=bool)
    assert found["min_cosine"] == pytest.approx(np.min((gram / np.outer(norms, norms))[off]),
                                                abs=1e-5)
    assert found["eta"] == pytest.approx(-np.min(gram[off]), rel=1e-4)
    assert found["covariance_trace"] == pytest.approx(np.sum(gradients.var(0, ddof=1)), rel=1e-4)
    assert found["num_pairs"] == 64 * 63 / 2


def test_four_devices_find_what_one_finds():
    findings = []
    for devices in (1, 4):
        _, state, measured = make(students(gradients="minibatches", num_pairs=3), devices)
        findings.append(measured.measure(state, seed=0, step=0).values)
    for name, value in findings[0].items():
        assert findings[1][name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_an_interrupted_run_finds_what_an_uninterrupted_one_finds(tmp_path):
    config = students(every=2)

    class StopAt(preemption.StopRequest):
        def reached(self, step):
            if step == self.last:
                self.signal = preemption.signal.SIGTERM
            return step == self.last

    def run(directory, last):
        lock = workdir.open_workdir(directory, config)
        with StopAt() as stop:
            stop.last = last
            result = loop.train(tasks.create(config), config, directory,
                                mesh.make_mesh(devices=jax.devices()[:1]), stop)
        os.close(lock)
        return result

    run(tmp_path / "whole", 99)
    assert run(tmp_path / "parts", 3).stopped_by
    run(tmp_path / "parts", 99)
    whole, parts = ([row for row in metrics.read_metrics(tmp_path / name / "metrics.jsonl")
                     if row["kind"] == "analysis"] for name in ("whole", "parts"))
    assert [row["step"] for row in whole] == [0, 2, 4, 6]
    assert whole == parts and set(whole[0]) >= NAMES
    for step in (0, 6):
        left, right = (np.load(tmp_path / name / "analysis" / f"step_{step}.npz")
                       for name in ("whole", "parts"))
        assert all(left[name].tobytes() == right[name].tobytes() for name in left.files)

    # The checkpoint of the last step is what the loop had measured; its files are left alone.
    kept = {file: file.read_bytes() for file in (tmp_path / "whole" / "analysis").iterdir()}
    status, output = programs.run(tmp_path / "whole", "--set=num_pairs=12", program="analyze")
    assert kept == {file: file.read_bytes() for file in kept}
    assert status == 0, output
    printed = json.loads(output.strip().splitlines()[-1])
    for name in NAMES:
        assert printed[name] == pytest.approx(whole[-1][name], rel=1e-4, abs=1e-5), name


def test_members_of_a_population_are_analysed_as_lone_runs_are():
    config = students()
    cells = plan_lib.make_plan(config_lib.config_dict.ConfigDict(config), [
        {"seed": seed, "optimizer.learning_rate": rate} for seed, rate in ((0, .1), (2, .3))])
    chunk = plan_lib.make_chunks(cells, 2)[0]
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    runner = worker.make_runner([chunk], chunk, grid, "map")
    hyper = [tasks.get("teacher_student").read_hyper(cell.config) for cell in chunk.cells]
    outcomes = runner.run(Runs([0, 2], hyper, [True, True]))
    for outcome, cell in zip(outcomes, chunk.cells, strict=True):
        experiment = tasks.create(cell.config)
        functions = loop.map_task(experiment.task, grid)
        state = loop.initialize(functions, experiment, cell.config["seed"])
        batches = experiment.train_batches(0)
        for _ in range(6):
            state, _ = functions.step(state, next(batches))
        expected = diagnostics.create(experiment, cell.config, grid).measure(
            state.task, cell.config["seed"], 6)
        for name, value in expected.values.items():
            assert outcome.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
        assert len(outcome.curve[-1]["cosines"]) == 12 and "cosines" not in outcome.metrics
        assert "min_cosine" in outcome.curve[0]


def test_no_example_is_left_out_without_batch_norm():
    experiment, state, measured = make(students(num_examples=63, measures=("curvature",)))
    gradients, _ = dense(experiment, state, 63)
    found = measured.measure(state, seed=0, step=0).values
    assert found["gradient_norm"] == pytest.approx(np.linalg.norm(gradients.mean(0)), rel=1e-5)


def losses_of(experiment, state, part, is_training):
    """In a mapped program, because norms average over the devices."""
    objective = experiment.objective
    mapped = mesh.map_over_devices(
        lambda state, batch: objective.losses(objective.params(state), state, batch, is_training),
        mesh.make_mesh(devices=jax.devices()[:1]), (mesh.REPLICATED, mesh.SHARDED), mesh.SHARDED)
    return mapped(
        jax.device_get(state), jax.tree.map(lambda x: x[part], objective.examples(None)))


def test_batch_norm_sees_the_minibatch_or_the_moving_averages():
    config = config_lib.default_config("teacher_student")
    config.update(num_examples=30, num_dimensions=6, batch_size=8, num_steps=6)
    config.network.update(name="mlp", norm="batch", widths=(5,))
    for mode, drops in (("batch", True), ("moving_average", False)):
        config.analysis.update(measures=("curvature",), batch_norm=mode, num_products=10)
        found = []
        for devices in (1, 2):
            experiment, state, measured = make(config_lib.check_config(config, 1), devices)
            found.append(measured.measure(state, seed=0, step=0).values)
        parts = [slice(8 * i, 8 * i + 8) for i in range(3)] if drops else [slice(None)]
        losses = np.concatenate([losses_of(experiment, state, part, drops) for part in parts])
        for values in found:
            assert values["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert found[1]["lambda_max"] == pytest.approx(found[0]["lambda_max"], rel=1e-4)


def test_a_loss_that_is_not_finite_ends_a_run_in_words(tmp_path):
    config = students()
    config["optimizer"]["learning_rate"] = 1e38
    config["num_steps"] = 1
    with preemption.StopRequest() as stop, pytest.raises(
            loop.NonFiniteLossError, match="the analysis after step 1"):
        workdir.open_workdir(tmp_path, config)
        loop.train(tasks.create(config), config, tmp_path,
                   mesh.make_mesh(devices=jax.devices()[:1]), stop)


@pytest.mark.parametrize("fields, message", [
    (dict(measures=("curvatur",)), "analysis.measures"),
    (dict(measures=("curvature", "curvature")), "analysis.measures"),
    (dict(gradients="all"), "analysis.gradients"),
])
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        students(**fields)


def test_what_cannot_be_measured_is_refused_with_a_remedy():
    with pytest.raises(config_lib.ConfigError, match="evaluate_every"):
        plan_lib.make_plan(config_lib.config_dict.ConfigDict(students(every=2)), [{"seed": 0}])
    with pytest.raises(config_lib.ConfigError, match="multiple of the 4 devices"):
        make(students(batch_size=6), devices=4)
    _, state, measured = make(students(batch_size=40, sampling="disjoint"))
    with pytest.raises(config_lib.ConfigError, match="at most 32"):
        measured.measure(state, 0, 0)
    _, state, measured = make(students(batch_size=64))
    with pytest.raises(config_lib.ConfigError, match="have no noise"):
        measured.measure(state, 0, 0)
    for count, message in ((1, "from 2 to"), (9, "num_examples=8")):
        _, state, measured = make(students(
            gradients="examples", num_examples=count, measures=MEASURES[:1]), 4)
        with pytest.raises(config_lib.ConfigError, match=message):
            measured.measure(state, 0, 0)
    simulation = config_lib.check_config(
        {"task": "noisy_quadratic", "analysis": {"measures": ("curvature",)}}, 1)
    with pytest.raises(config_lib.ConfigError, match="no loss of single examples"):
        diagnostics.create(tasks.create(simulation), simulation, mesh.make_mesh())


def test_examples_with_batch_statistics_have_no_gradients_of_their_own():
    experiment, state, _ = make(students())
    objective = experiment.objective._replace(has_batch_statistics=lambda state: True)
    config = students(gradients="examples")
    refused = diagnostics.create(
        experiment._replace(objective=objective), config, mesh.make_mesh())
    with pytest.raises(config_lib.ConfigError, match="moving_average"):
        refused.measure(state, 0, 0)
