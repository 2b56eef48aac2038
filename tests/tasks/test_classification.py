"""The classification step against its definition, written out a second time."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import data, tasks
from nfnets_jax.tasks import classification
from nfnets_jax.training import loop, mesh
from tests import tiny_config

HYPER = dict(learning_rate=0.2, momentum=0.9, weight_decay=0.01, label_smoothing=0.1)
MEAN, STD = data.info("digits").mean, data.info("digits").std


def linear(images, is_training):
    """A network whose gradient is known: softmax regression."""
    del is_training
    return {"logits": hk.Linear(10, w_init=hk.initializers.RandomNormal(0.1))(
        images.reshape(len(images), -1))}


def make_task(network=None, **arguments):
    return classification.create_task(
        network or hk.transform_with_state(linear),
        image_shape=(8, 8, 1),
        preprocess=lambda images: data.normalize(images, MEAN, STD),
        augment=lambda key, images, index: images,
        **{"schedule": optax.constant_schedule(1.0), **arguments})


def make_batch(seed=0, size=16):
    rng = np.random.default_rng(seed)
    return {"image": rng.integers(0, 256, (size, 8, 8, 1), dtype=np.uint8),
            "label": rng.integers(0, 10, size, dtype=np.int32),
            "index": np.arange(size, dtype=np.uint32),
            "mask": np.ones(size, np.float32)}


def run(task, batches, devices=1, seed=0):
    programs = loop.map_task(task, mesh.make_mesh(devices=jax.devices()[:devices]))
    state = programs.init(np.uint32(seed), {k: np.float32(v) for k, v in HYPER.items()})
    history = []
    for batch in batches:
        state, metrics = programs.step(state, {k: v for k, v in batch.items() if k != "mask"})
        history.append(jax.device_get(metrics))
    return jax.device_get(state.task), history, programs


def softmax_regression(batches, params, ema_decay=0.0):
    """Float64 numpy: label smoothing, L2 without the bias, Nesterov, EMA with its warm-up."""
    w = np.asarray(params["linear"]["w"], float)
    b = np.asarray(params["linear"]["b"], float)
    ema, trace, losses = [w, b], [0.0, 0.0], []
    for step, batch in enumerate(batches):
        x = ((batch["image"] - np.array(MEAN)) / np.array(STD)).reshape(len(batch["label"]), -1)
        targets = np.eye(10)[batch["label"]] * 0.9 + 0.01
        logits = x @ w + b
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses.append(-(targets * log_p).sum(-1).mean())
        delta = (np.exp(log_p) - targets) / len(x)
        gradients = [x.T @ delta + 0.01 * w, delta.sum(0)]
        trace = [0.9 * t + g for t, g in zip(trace, gradients, strict=True)]
        w, b = (p - 0.2 * (g + 0.9 * t)
                for p, g, t in zip((w, b), gradients, trace, strict=True))
        decay = min(ema_decay, (1 + step) / (10 + step))
        ema = [decay * e + (1 - decay) * p for e, p in zip(ema, (w, b), strict=True)]
    return w, b, ema, losses


def test_step_is_softmax_regression_with_sgd_and_ema():
    batches = [make_batch(seed) for seed in range(6)]
    start, _, _ = run(make_task(), [])
    w, b, ema, losses = softmax_regression(batches, start.params, ema_decay=0.2)
    state, history, _ = run(make_task(ema_decay=0.2), batches)
    np.testing.assert_allclose([m["loss"] for m in history], losses, rtol=1e-5)
    np.testing.assert_allclose(state.params["linear"]["w"], w, atol=2e-6)
    np.testing.assert_allclose(state.params["linear"]["b"], b, atol=2e-6)
    np.testing.assert_allclose(state.ema_params["linear"]["w"], ema[0], atol=2e-6)
    np.testing.assert_allclose(state.ema_params["linear"]["b"], ema[1], atol=2e-6)


@pytest.mark.parametrize("devices, accumulation_steps", [(1, 4), (2, 2), (4, 1), (4, 4)])
def test_slices_of_a_batch_add_up_to_it(devices, accumulation_steps):
    batches = [make_batch(seed) for seed in range(3)]
    whole, whole_history, _ = run(make_task(), batches)
    state, history, _ = run(make_task(accumulation_steps=accumulation_steps), batches, devices)
    for name in ("loss", "accuracy", "gradient_norm", "learning_rate"):
        np.testing.assert_allclose([m[name] for m in history],
                                   [m[name] for m in whole_history], rtol=1e-5)
    np.testing.assert_allclose(state.params["linear"]["w"], whole.params["linear"]["w"], atol=1e-6)


@pytest.mark.parametrize("ema_decay", [0.0, 0.2])
def test_evaluation_counts_every_example_once_and_uses_the_average(ema_decay):
    batches = [make_batch(seed) for seed in range(3)]
    state, _, programs = run(make_task(ema_decay=ema_decay), batches)
    params = state.ema_params if ema_decay else state.params
    examples = make_batch(7, size=11)  # one full batch of 8 and a ragged one of 3
    parts = []
    for part in (slice(0, 8), slice(8, 11)):
        full = make_batch(9, size=8)
        full["mask"][:] = 0
        count = part.stop - part.start
        for name in ("image", "label"):
            full[name][:count] = examples[name][part]
        full["mask"][:count] = 1
        parts.append(full)
    device_state = loop.RunState(np.uint32(0), np.int32(3), state)
    got = loop.evaluate(programs, device_state, parts, mesh.make_mesh(devices=jax.devices()[:1]))
    x = ((examples["image"] - np.array(MEAN)) / np.array(STD)).reshape(11, -1)
    logits = x @ np.asarray(params["linear"]["w"], float) + params["linear"]["b"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert got["count"] == 11
    np.testing.assert_allclose(got["loss"], -log_p[np.arange(11), examples["label"]].mean(),
                               rtol=1e-5)
    np.testing.assert_allclose(got["accuracy"], np.mean(logits.argmax(-1) == examples["label"]))


def experiment_of(network, **changes):
    config = tiny_config.get_config(network).to_dict()
    config["schedule"]["warmup_epochs"] = 0.0
    config.update(changes)
    return tasks.create(config_lib.check_config(config, 4))


def test_two_classes_are_told_apart_by_one_logit():
    config = config_lib.default_config()
    config.network.name, config.network.widths = "mlp", (4,)
    config.num_steps, config.schedule.warmup_epochs = 3, 0.0
    config.scalar_logit = True
    with pytest.raises(config_lib.ConfigError, match="scalar_logit=True: digits has 10 classes"):
        config_lib.check_config(config, 1)
    config.dataset.name, config.label_smoothing = "digits_parity", 0.0
    config.batch_size = config.evaluation_batch_size = 360
    experiment = tasks.create(config_lib.check_config(config, 1))
    programs = loop.map_task(experiment.task, mesh.make_mesh(devices=jax.devices()[:1]))
    state = loop.initialize(programs, experiment, 0)
    layers = jax.tree.map(np.float64, jax.device_get(state.task.params))
    assert layers["mlp/classifier"]["w"].shape == (4, 1)
    sums = loop.evaluate(programs, state, experiment.evaluation_batches("test"),
                         mesh.make_mesh(devices=jax.devices()[:1]))
    batch = next(experiment.evaluation_batches("test"))
    x = ((batch["image"] - np.array(MEAN)) / np.array(STD)).reshape(360, 64)
    z = np.maximum(x @ layers["mlp/hidden_0"]["w"], 0) @ layers["mlp/classifier"]["w"]
    sign = 2 * batch["label"] - 1
    assert sums["loss"] == pytest.approx(np.mean(np.log1p(np.exp(-sign * z[:, 0]))), rel=1e-5)
    assert sums["accuracy"] == pytest.approx(np.mean(sign * z[:, 0] > 0))
    assert experiment.chance_loss == pytest.approx(np.log(2))


def losses_on(devices, experiment, steps=12):
    grid = mesh.make_mesh(devices=jax.devices()[:devices])
    programs = loop.map_task(experiment.task, grid)
    state = programs.init(np.uint32(0), {k: np.float32(v) for k, v in experiment.hyper.items()})
    batches = experiment.train_batches(0)
    losses = []
    for _ in range(steps):
        state, metrics = programs.step(state, next(batches))
        losses.append(float(metrics["loss"]))
    return np.array(losses)


@pytest.mark.parametrize("network, devices", [("nf_resnet_digits", 2), ("bn_resnet_digits", 4)])
def test_number_of_devices_does_not_change_the_loss_curve(network, devices):
    experiment = experiment_of(network)
    one = losses_on(1, experiment)
    assert one[-1] < one[0]
    np.testing.assert_allclose(losses_on(devices, experiment), one, rtol=2e-4)


def test_batch_statistics_of_one_device_differ_from_those_of_all():
    alone = experiment_of("bn_resnet_digits", cross_replica_batch_norm=False)
    together = experiment_of("bn_resnet_digits")
    assert np.max(np.abs(losses_on(4, alone) - losses_on(4, together))) > 1e-3


def test_bfloat16_keeps_float32_parameters_and_a_near_loss():
    exact = losses_on(1, experiment_of("nf_resnet_digits"))
    experiment = experiment_of("nf_resnet_digits", precision="bfloat16")
    rounded = losses_on(1, experiment)
    assert 0 < np.max(np.abs(rounded - exact)) < 0.03
    state = jax.eval_shape(experiment.task.init, jax.random.key(0), experiment.hyper)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_average_covers_the_moving_statistics_and_is_what_is_evaluated():
    experiment = experiment_of("bn_resnet_digits", ema_decay=0.5)
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    programs = loop.map_task(experiment.task, grid)
    state = loop.initialize(programs, experiment, 0)
    start = jax.device_get(state.task)
    state, _ = programs.step(state, next(experiment.train_batches(0)))
    after = jax.device_get(state.task)
    decay = 0.1  # (1 + 0) / (10 + 0) in the first step
    for average, before, value in ((after.ema_params, start.params, after.params),
                                   (after.ema_network_state, start.network_state,
                                    after.network_state)):
        for a, b, v in zip(*map(jax.tree.leaves, (average, before, value)), strict=True):
            expected = decay * b + (1 - decay) * v if v.dtype == np.float32 else v
            np.testing.assert_allclose(a, expected, rtol=1e-5, atol=1e-6)
    first = loop.evaluate(programs, state, experiment.evaluation_batches("test"), grid)
    swapped = state._replace(task=state.task._replace(
        params=state.task.ema_params, network_state=state.task.ema_network_state,
        ema_params=state.task.params, ema_network_state=state.task.network_state))
    second = loop.evaluate(programs, swapped, experiment.evaluation_batches("test"), grid)
    assert first["loss"] != second["loss"]
