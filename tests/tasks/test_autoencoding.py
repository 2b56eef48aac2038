"""The autoencoding step against float64 numpy, its evaluation, and what it learns on the digits."""

import functools

import jax
import numpy as np
import optax
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import optim, tasks
from nfnets_jax.nets.autoencoder import create_autoencoder
from nfnets_jax.tasks import autoencoding
from nfnets_jax.training import loop, mesh

HYPER = dict(learning_rate=0.01, momentum=0.9, weight_decay=0.02)


def make_task(**arguments):
    return autoencoding.create_task(
        create_autoencoder((5,), "tanh", True), image_shape=(4, 4, 1),
        **{"schedule": optax.constant_schedule(1.0), **arguments})


def make_batch(seed, size=8):
    rng = np.random.default_rng(seed)
    return {"image": rng.integers(0, 256, (size, 4, 4, 1), dtype=np.uint8),
            "label": np.zeros(size, np.int32), "index": np.arange(size, dtype=np.uint32),
            "mask": np.ones(size, np.float32)}


def programs_of(task, devices=1):
    return loop.map_task(task, mesh.make_mesh(devices=jax.devices()[:devices]))


def start(programs):
    return programs.init(np.uint32(0), {k: np.float32(v) for k, v in HYPER.items()})


def forward(params, batch, loss):
    """Float64 numpy: losses and squared errors of the examples, and the gradient of their mean."""
    w, b, c = (np.asarray(params[name], float)
               for name in ("encoder_w0", "encoder_bias0", "decoder_bias0"))
    x = batch["image"].reshape(-1, 16) / 255.0
    h = np.tanh(x @ w + b)
    out = h @ w.T + c
    if loss == "squared":
        pixels, delta = out, 2 * (out - x)
        losses = np.sum((out - x) ** 2, axis=1)
    else:
        pixels = 1 / (1 + np.exp(-out))
        losses = -np.sum(x * np.log(pixels) + (1 - x) * np.log(1 - pixels), axis=1)
        delta = pixels - x
    delta = delta / len(x)
    hidden = (delta @ w) * (1 - h * h)
    grads = {"encoder_w0": x.T @ hidden + delta.T @ h, "encoder_bias0": hidden.sum(0),
             "decoder_bias0": delta.sum(0)}
    return losses, np.sum((pixels - x) ** 2, axis=1), grads


@pytest.mark.parametrize("loss, nesterov, devices", [
    ("squared", False, 1), ("squared", True, 4), ("cross_entropy", False, 2)])
def test_steps_are_those_of_float64(loss, nesterov, devices):
    programs = programs_of(make_task(loss=loss, create_optimizer=functools.partial(
        optim.create_optimizer, nesterov=nesterov)), devices)
    state = start(programs)
    params = {k: np.asarray(v, float) for k, v in state.task.params["autoencoder"].items()}
    trace = {name: 0.0 for name in params}
    for seed in range(5):
        batch = make_batch(seed)
        losses, _, grads = forward(params, batch, loss)
        state, metrics = programs.step(state, {k: batch[k] for k in ("image", "label", "index")})
        np.testing.assert_allclose(metrics["loss"], losses.mean(), rtol=1e-5)
        np.testing.assert_allclose(metrics["gradient_norm"], np.sqrt(sum(
            np.sum(g**2) for g in grads.values())), rtol=1e-4)
        grads["encoder_w0"] += 0.02 * params["encoder_w0"]  # biases are not decayed
        for name, g in grads.items():
            trace[name] = 0.9 * trace[name] + g
            params[name] = params[name] - 0.01 * (
                g + 0.9 * trace[name] if nesterov else trace[name])
    for name, value in state.task.params["autoencoder"].items():
        np.testing.assert_allclose(value, params[name], atol=2e-6)


@pytest.mark.parametrize("loss", autoencoding.LOSSES)
def test_evaluation_counts_every_example_once(loss):
    programs = programs_of(make_task(loss=loss))
    state = start(programs)
    batch, ragged = make_batch(0), make_batch(1)
    ragged["mask"][3:] = 0
    got = loop.evaluate(programs, state, [batch, ragged],
                        mesh.make_mesh(devices=jax.devices()[:1]))
    examples = {"image": np.concatenate([batch["image"], ragged["image"][:3]])}
    losses, squared, _ = forward(state.task.params["autoencoder"], examples, loss)
    assert got["count"] == 11
    np.testing.assert_allclose(got["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(got["squared_error"], squared.mean(), rtol=1e-5)


def digits_config(**changes):
    config = config_lib.default_config("autoencoding")
    config.update({
        "batch_size": 32, "evaluation_batch_size": 360, "num_steps": 150,
        "dataset": {"name": "digits"}, "network": {"widths": (32, 8), "activation": "relu"},
        "schedule": {"name": "constant", "final_fraction": 1.0, "warmup_epochs": 0.0}})
    config.update(changes)
    return config


def images_of(experiment, split):
    batches = list(experiment.evaluation_batches(split))
    pixels = np.concatenate([b["image"][b["mask"] > 0] for b in batches])
    return pixels.reshape(len(pixels), -1) / 255.0


@pytest.mark.parametrize("tied", [False, True])
def test_reconstructs_digits_better_than_their_mean(tied, tmp_path):
    config = digits_config()
    config.network.tied = tied
    config.dataset.validation_split = "train[:100]"
    experiment = tasks.create(config_lib.check_config(config, 1))
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    programs = loop.map_task(experiment.task, grid)
    state = loop.initialize(programs, experiment, 0)
    batches = experiment.train_batches(0)
    for _ in range(experiment.total_steps):
        state, _ = programs.step(state, next(batches))
    got = loop.evaluate(programs, state, experiment.evaluation_batches("test"), grid)
    train, test = (images_of(experiment, split) for split in ("train", "test"))
    of_mean = np.mean(np.sum((test - train.mean(0)) ** 2, axis=1))
    assert got["loss"] < 0.6 * of_mean
    assert experiment.splits == {"train": "train", "test": "test", "valid": "train[:100]"}

    shown = experiment.figures["reconstructions"](
        jax.device_get(state.task), str(tmp_path / "figure.png"))["squared_error"]
    first = next(experiment.evaluation_batches("test"))
    first["mask"] = np.where(np.arange(len(first["mask"])) < 10, 1.0, 0.0).astype(np.float32)
    drawn = loop.evaluate(programs, state, [first], grid)
    assert drawn["count"] == len(shown) == 10
    np.testing.assert_allclose(np.mean(shown), drawn["squared_error"], rtol=1e-5)


@pytest.mark.parametrize("changes, words", [
    ({"dataset": {"name": "imagenette"}}, "dataset.image_size=None"),
    ({"dataset": {"evaluation_image_size": 9}}, "dataset.evaluation_image_size=9"),
    ({"batch_size": 33}, "batch_size=33: not divisible by the 4 devices"),
    ({"network": {"widths": (32, 0)}}, "network.widths="),
])
def test_fields_must_fit_together(changes, words):
    with pytest.raises(config_lib.ConfigError, match=words):
        config_lib.check_config(digits_config(**changes), 4)
