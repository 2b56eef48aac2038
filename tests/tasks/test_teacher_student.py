"""The teacher's classes, and the student's runs: alone, in a population, resumed."""

import itertools

import jax
import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.tasks import teacher_student
from nfnets_jax.training import loop, mesh
from nfnets_jax.training.population_record import Runs
from nfnets_jax.training.population_run import PopulationRunner


def make_config():
    config = config_lib.default_config("teacher_student")
    config.update({"num_steps": 10, "batch_size": 8, "num_examples": 50, "num_test_examples": 30,
                   "evaluation_batch_size": 16, "evaluate_every": 5})
    config.network.widths, config.network.first_init = (6, 5), "lecun"
    config.schedule.update(name="piecewise", final_fraction=0.0, drops=(0.4, 0.8))
    return config_lib.check_config(config, 1)


@pytest.fixture(scope="module")
def experiment():
    return tasks.create(make_config())


def test_labels_are_those_of_the_teacher():
    config = config_lib.check_config(config_lib.default_config("teacher_student"), 1)
    splits = teacher_student.draw_examples(config)
    random = np.random.default_rng(0)
    a, v = random.normal(size=(32, 16)) / np.sqrt(32), random.normal(size=16)
    x = random.normal(size=(2048, 32))
    x = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    scores = np.tanh(2 * x @ a) @ v
    for split, rows in (("train", slice(1024)), ("test", slice(1024, None))):
        np.testing.assert_allclose(splits[split]["image"][:, 0, 0], x[rows], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(
            splits[split]["label"], scores[rows] > np.median(scores[:1024]))
    assert splits["train"]["label"].sum() == 512
    assert 400 < splits["test"]["label"].sum() < 624
    np.testing.assert_array_equal(
        teacher_student.draw_examples({**config, "seed": 7})["train"]["image"],
        splits["train"]["image"])


def test_batches_are_draws_with_replacement_and_the_same_wherever_they_begin(experiment):
    first = list(itertools.islice(experiment.train_batches(0), 40))
    again = next(experiment.train_batches(7))
    resident = experiment.resident
    drawn = resident.draw(0, 7, 9)
    gathered = resident.batch(resident.arrays, {name: x[0] for name, x in drawn.items()})
    for other in (again, gathered):
        jax.tree.map(np.testing.assert_array_equal, other, first[7])
    # 320 draws of 50 examples: 6.4 each, and in 8 draws one comes twice with probability 0.45.
    ids = resident.draw(0, 0, 40)["id"]
    counts = np.bincount(ids.ravel(), minlength=50)
    assert np.sum((counts - 6.4) ** 2) / 6.4 < 90  # chi squared with 49 degrees of freedom
    assert 8 < sum(len(set(row)) < 8 for row in ids) < 28
    assert np.any(resident.draw(1, 0, 40)["id"] != ids)
    # Two processes hold the halves of a batch.
    halves = [next(tasks.create(make_config(), index, 2).train_batches(7)) for index in (0, 1)]
    jax.tree.map(lambda whole, *parts: np.testing.assert_array_equal(
        np.concatenate(parts), whole), first[7], *halves)


def test_evaluation_sees_every_example_once(experiment):
    examples = teacher_student.draw_examples(make_config())["test"]
    batches = list(experiment.evaluation_batches("test"))
    assert [batch["mask"].sum() for batch in batches] == [16, 14]
    for name in ("image", "label"):
        seen = np.concatenate([batch[name][batch["mask"] > 0] for batch in batches])
        np.testing.assert_array_equal(seen, examples[name])
    with pytest.raises(ValueError, match="split 'valid' is unknown; use train or test"):
        experiment.evaluation_batches("valid")


def float64_run(params, batches, rates):
    """SGD on the logistic loss of a ReLU network: the losses of the steps, and the last layers."""
    layers = [[np.float64(params[f"mlp/{name}"][leaf]) for leaf in "wb"]
              for name in ("hidden_0", "hidden_1", "classifier")]
    losses = []
    for rate, batch in zip(rates, batches, strict=True):
        inputs, z = forward(layers, batch["image"])
        sign = 2 * batch["label"][:, None] - 1
        losses.append(np.mean(np.log1p(np.exp(-sign * z))))
        delta, updated = -sign / (1 + np.exp(sign * z)) / len(sign), []
        for (w, b), x in zip(reversed(layers), reversed(inputs), strict=True):
            updated.insert(0, [w - rate * x.T @ delta, b - rate * delta.sum(0)])
            delta = delta @ w.T * (x > 0)
        layers = updated
    return losses, layers


def forward(layers, images):
    """The input of each layer, and the output [N, 1]."""
    inputs, x = [], np.float64(images[:, 0, 0])
    for w, b in layers:
        inputs.append(np.maximum(x, 0) if inputs else x)
        x = inputs[-1] @ w + b
    return inputs, x


def test_members_of_a_population_are_float64_runs_of_sgd_on_the_logistic_loss():
    config = make_config()
    seeds, rates = (0, 3), (0.2, 0.5)
    hyper = teacher_student.read_hyper(config)
    assert hyper == dict(learning_rate=0.1, momentum=0.0, weight_decay=0.0, label_smoothing=0.0)
    grid = mesh.make_mesh(1, jax.devices()[:1])
    runner = PopulationRunner(lambda seed: tasks.create({**config, "seed": seed}), size=2,
                              num_seeds=2, evaluate_every=5, mesh=grid, mapping="map")
    outcomes = runner.run(Runs(list(seeds), [{**hyper, "learning_rate": r} for r in rates],
                               [True, True]))
    test = teacher_student.draw_examples(config)["test"]
    sign = 2 * test["label"] - 1
    programs = None
    for outcome, seed, rate in zip(outcomes, seeds, rates, strict=True):
        experiment = tasks.create({**config, "seed": seed})
        programs = programs or loop.map_task(experiment.task, grid)
        params = jax.device_get(loop.initialize(programs, experiment, seed).task.params)
        batches = itertools.islice(experiment.train_batches(0), 10)
        falling = [rate] * 4 + [rate / 10] * 4 + [rate / 100] * 2
        losses, layers = float64_run(params, batches, falling)
        assert [point["running_loss"] for point in outcome.curve[1:]] == pytest.approx(
            losses, rel=1e-4)
        margin = sign * forward(layers, test["image"])[1][:, 0]
        assert outcome.metrics["test_loss"] == pytest.approx(
            np.mean(np.log1p(np.exp(-margin))), rel=1e-4)
        assert outcome.metrics["test_accuracy"] == pytest.approx(np.mean(margin > 0))


def test_the_objective_is_the_loss_of_each_example(experiment):
    layers = [[np.ones((32, 6)) / 32, np.zeros(6)], [np.ones((6, 5)), np.zeros(5)],
              [np.ones((5, 1)), -np.ones(1)]]
    names = ("hidden_0", "hidden_1", "classifier")
    params = {f"mlp/{name}": {"w": np.float32(w), "b": np.float32(b)}
              for name, (w, b) in zip(names, layers, strict=True)}
    state = jax.eval_shape(experiment.task.init, jax.random.key(0), experiment.hyper)
    state = state._replace(params=params, network_state={}, hyper=experiment.hyper)
    batch = experiment.objective.examples(20)
    margin = (2 * batch["label"] - 1) * forward(layers, batch["image"])[1][:, 0]
    np.testing.assert_allclose(
        experiment.objective.losses(params, state, batch, True), np.log1p(np.exp(-margin)),
        rtol=1e-4, atol=1e-6)
    assert len(experiment.objective.examples(None)["label"]) == 50


def test_wrong_configs_are_refused():
    for field, value, message in (
            ("network.name", "vgg_digits", "network.name='vgg_digits': the inputs are vectors"),
            ("network.norm_classifier", True, "network.norm_classifier=True is not allowed"),
            ("optimizer.xi", 0.1, "optimizer.xi=0.1: sgd has none"),
            ("batch_size", 0, "batch_size=0: must be a whole number of at least 1")):
        config = config_lib.default_config("teacher_student")
        config.update_from_flattened_dict({field: value})
        with pytest.raises(config_lib.ConfigError, match=message):
            config_lib.check_config(config, 1)
