"""Pretraining against its definitions: losses, target, who sees whom, learned or collapsed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.byol import digits
from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis.embeddings import COLLAPSED_COSINE
from nfnets_jax.config import ConfigError
from nfnets_jax.tasks import byol
from nfnets_jax.training import loop, mesh

RNG = np.random.default_rng(0)
P, Z = RNG.normal(size=(2, 6, 5)).astype(np.float32)


def config_of(variant, **changes):
    config = digits.get_config(variant)
    config.network.widths, config.network.depths = (8, 16), (1, 1)
    config.network.strides, config.network.stem_width = (1, 2), 8
    config.projector.hidden_size = config.predictor.hidden_size = 32
    config.batch_size, config.schedule.warmup_epochs = 32, 0.0
    config.probe.num_views = 64
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


@functools.cache
def made(variant, devices=1, changes=()):
    """The experiment and its programs, made and compiled once for all tests."""
    config = config_lib.check_config(config_of(variant, **dict(changes)), devices)
    experiment = tasks.create(config)
    grid = mesh.make_mesh(devices=jax.devices()[:devices])
    return experiment, loop.map_task(experiment.task, grid)


def run(variant, steps, devices=1, hyper=None, **changes):
    """The task's state after some steps, the first state, and the metrics of every step."""
    experiment, programs = made(variant, devices, tuple(changes.items()))
    state = loop.initialize(
        programs, experiment._replace(hyper=experiment.hyper | (hyper or {})), 0)
    start = jax.device_get(state.task)
    batches, history = experiment.train_batches(0), []
    for _ in range(steps):
        state, metrics = programs.step(state, next(batches))
        history.append(jax.device_get(metrics))
    return jax.device_get(state.task), start, history


def assert_close(a, b, **tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), a, b)


def test_loss_is_two_minus_two_cosines():
    cosines = np.sum(P * Z, -1) / np.linalg.norm(P, axis=-1) / np.linalg.norm(Z, axis=-1)
    np.testing.assert_allclose(byol.byol_loss(P, Z), 2 - 2 * cosines, atol=1e-6)
    np.testing.assert_allclose(byol.byol_loss(3 * Z, Z), 0.0, atol=1e-6)
    np.testing.assert_allclose(byol.byol_loss(-Z, Z), 4.0, atol=1e-6)
    np.testing.assert_allclose(byol.byol_loss(0.1 * P, 7 * Z), byol.byol_loss(P, Z), atol=1e-6)
    orthogonal = np.eye(5, dtype=np.float32)
    np.testing.assert_allclose(byol.byol_loss(orthogonal, np.roll(orthogonal, 1, 0)), 2.0)


def test_gradient_of_the_loss_is_tangential_and_spares_the_target():
    to_p, to_z = jax.grad(lambda p, z: byol.byol_loss(p, z).sum(), (0, 1))(P, Z)
    np.testing.assert_allclose(np.sum(P * to_p, -1), 0.0, atol=1e-5)
    assert np.abs(to_p).min() > 1e-4
    np.testing.assert_array_equal(to_z, 0.0)
    assert np.isfinite(jax.grad(lambda p: byol.byol_loss(p, Z).sum())(np.zeros_like(P))).all()


def test_contrastive_loss_is_its_double_sum():
    x = np.concatenate([P, Z]).astype(np.float64)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    losses = []
    for i in range(12):
        others = [np.exp(x[i] @ x[k] / 0.5) for k in range(12) if k != i]
        losses.append(-np.log(np.exp(x[i] @ x[(i + 6) % 12] / 0.5) / sum(others)))
    loss = byol.contrastive_loss(np.concatenate([P, Z]), 0.5)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)


def test_target_decay_starts_at_its_base_and_ends_at_one():
    values = [float(byol.target_decay(jnp.array(k), 100, 0.996)) for k in (0, 50, 100)]
    np.testing.assert_allclose(values, [0.996, 0.998, 1.0], atol=1e-6)
    assert float(byol.target_decay(jnp.array(70), 100, 0.9, "constant")) == pytest.approx(0.9)


def test_target_moves_towards_the_updated_online_network():
    decay = 0.3
    state, start, history = run(
        "group_ws", 1, hyper={"target_decay": decay, "learning_rate": 0.5})
    online = {name: state.params[name] for name in byol.TARGET_PARTS}
    expected = jax.tree.map(lambda x, y: decay * x + (1 - decay) * y, start.target_params, online)
    assert_close(state.target_params, expected, atol=1e-6)
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), online,
                         {name: start.params[name] for name in online})
    assert max(jax.tree.leaves(moved)) > 1e-3
    different = jax.tree.map(lambda x, y: np.abs(x - y).max(), start.target_params,
                             {name: start.params[name] for name in online})
    assert max(jax.tree.leaves(different)) > 0.1  # from other random numbers
    assert history[0]["target_decay"] == pytest.approx(decay)


def test_batch_statistics_of_the_target_are_its_own():
    state, start, _ = run("batch", 1, hyper={"target_decay": 1.0})

    def means(tree):
        return {name: values["average"] for part in byol.TARGET_PARTS
                for name, values in tree[part].items() if "mean_ema" in name}

    online, target = means(state.network_state), means(state.target_state)
    for name, before in means(start.target_state).items():
        assert np.abs(target[name] - before).max() > 1e-3
        assert np.abs(target[name] - online[name]).max() > 1e-3


def embeddings_of(variant, change):
    """Projections of both views before and after one image of the batch is changed."""
    experiment, programs = made(variant)
    functions = experiment.measure.__self__._functions
    embed = mesh.map_over_devices(
        lambda state, batch: functions.embed(state, batch, jax.random.key(3))[1],
        mesh.make_mesh(devices=jax.devices()[:1]), (mesh.REPLICATED, mesh.SHARDED),
        mesh.REPLICATED)
    state = loop.initialize(programs, experiment, 0).task
    batch = dict(next(experiment.train_batches(0)))
    before = embed(state, batch)
    batch["image"] = batch["image"].copy()
    batch["image"][change] = 255 - batch["image"][change]
    return np.asarray(before), np.asarray(embed(state, batch))


@pytest.mark.parametrize("variant, is_free", [
    ("group_ws", True), ("layer", True), ("calibrated", True), ("batch", False),
    ("none,batch,none", False)])
def test_an_image_is_embedded_without_the_others_unless_there_is_batch_norm(variant, is_free):
    before, after = embeddings_of(variant, change=5)
    others = [i for i in range(64) if i % 32 != 5]
    changed = np.abs(after - before).max(-1) / np.abs(before).max()
    assert changed[5] > 1e-2 and changed[37] > 1e-2
    if is_free:
        np.testing.assert_array_equal(after[others], before[others])
    else:
        assert np.median(changed[others]) > 1e-3


@pytest.mark.parametrize("variant, is_free", [
    ("group_ws", True), ("calibrated", True), ("none,none,batch", False)])
def test_the_gradient_is_a_sum_over_images_unless_there_is_batch_norm(variant, is_free):
    """One image at a time gives the update of the batch: nothing flows between images."""
    changes = {"batch_size": 8, "optimizer.base_learning_rate": 8.0}
    whole, start, _ = run(variant, 1, **changes)
    alone, _, _ = run(variant, 1, accumulation_steps=8, **changes)

    def update(state):
        return np.concatenate([(x - y).ravel() for x, y in zip(
            jax.tree.leaves(state.params), jax.tree.leaves(start.params), strict=True)])

    difference = np.linalg.norm(update(whole) - update(alone)) / np.linalg.norm(update(whole))
    assert difference < 1e-4 if is_free else difference > 0.05


@pytest.mark.parametrize("variant", ["batch", "simclr:group"])
def test_number_of_devices_does_not_change_the_curve(variant):
    _, _, one = run(variant, 4)
    _, _, four = run(variant, 4, devices=4)
    for name in ("loss", "probe_loss"):
        np.testing.assert_allclose([m[name] for m in four], [m[name] for m in one], rtol=5e-4)


def test_statistics_of_one_device_give_another_curve():
    _, _, together = run("batch", 2, devices=4)
    _, _, alone = run("batch", 2, devices=4, cross_replica_batch_norm=False)
    assert abs(together[-1]["loss"] - alone[-1]["loss"]) > 1e-3


def test_accumulation_rematerialization_and_bfloat16():
    _, _, exact = run("group_ws", 3)
    for changes, tolerance in (({"accumulation_steps": 4}, 1e-4),
                               ({"network.remat_blocks": True}, 1e-5),
                               ({"precision": "bfloat16"}, 0.05)):
        state, _, history = run("group_ws", 3, **changes)
        np.testing.assert_allclose(
            [m["loss"] for m in history], [m["loss"] for m in exact], rtol=tolerance)
        floats = jax.tree.leaves((state.params, state.target_params, state.opt_state))
        assert {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}


def test_rematerialized_blocks_keep_a_fraction_for_the_backward_pass():
    """Of what a backward pass is given; what a compiler makes of it differs by platform."""
    sizes = []
    for remat in (False, True):
        config = config_lib.check_config(config_of("group_ws", **{
            "network.remat_blocks": remat, "network.depths": (6, 2)}), 1)
        encoder = byol.create_networks(config, 10).encoder
        images = jnp.zeros((32, 12, 12, 1))
        params, state = encoder.init(jax.random.key(0), images, True)
        kept = jax.eval_shape(lambda p, e=encoder, s=state, i=images: jax.vjp(
            lambda p: e.apply(p, s, None, i, True)[0]["features"], p)[1], params)
        sizes.append(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)))
    assert sizes[1] < 0.3 * sizes[0]


def test_calibrated_networks_start_with_normalized_layers():
    cosine, grid = {}, mesh.make_mesh(devices=jax.devices()[:1])
    for variant in ("calibrated", "batch", "none"):
        state, _, _ = run(variant, 0)
        measured = made(variant)[0].measure(state, {}, "test", grid)
        cosine[variant] = measured.metrics["negative_cosine"]
    assert cosine["calibrated"] < 0.6 and cosine["batch"] < 0.6 and cosine["none"] > 0.9


def test_without_norm_it_collapses_and_says_so_and_with_batch_norm_it_learns():
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    for variant, collapsed in (("none", True), ("batch", False)):
        state, _, history = run(variant, 60, hyper={"learning_rate": 0.2})
        metrics, remark = made(variant)[0].measure(state, {}, "test", grid)
        if collapsed:
            assert metrics["projection_std"] < 0.06 and history[-1]["loss"] < 0.01
            assert metrics["negative_cosine"] > COLLAPSED_COSINE and "COLLAPSED" in remark
        else:
            assert metrics["projection_std"] > 0.6 and metrics["negative_cosine"] < 0.4
            assert history[0]["loss"] > 3 and history[-1]["loss"] < 1.6
            assert metrics["ridge_accuracy"] > 0.6 and remark is None


def test_host_crops_give_two_different_views_with_the_same_program():
    changes = {"augmentation.crop_on": "host", "augmentation.crop_max_area": 1.0}
    experiment, _ = made("group_ws", changes=tuple(changes.items()))
    batch = next(experiment.train_batches(0))
    assert batch["image"].shape == (32, 2, 12, 12, 1)
    assert np.abs(batch["image"][:, 0].astype(int) - batch["image"][:, 1]).mean() > 5
    _, _, history = run("group_ws", 2, **changes)
    assert np.isfinite([m["loss"] for m in history]).all()


@pytest.mark.parametrize("changes, message", [
    ({"projector.norm": "instance"}, "projector.norm='instance'"),
    ({"predictor.norm": "group", "predictor.num_groups": 24}, "predictor.num_groups=24.*divide"),
    ({"network.norm": "bach"}, "network.norm='bach'"),
    ({"network.num_groups": 3, "network.norm": "group"}, "num_groups=3 is not allowed"),
    ({"augmentation.crop_min_area": 0.9, "augmentation.crop_max_area": 0.5}, "crop_min_area=0.9"),
    ({"augmentation.crop_on": "host", "augmentation.crop_max_area": 0.5}, "crop_max_area=0.5"),
    ({"augmentation.view_1.blur_sigma_min": 3.0}, "view_1.blur_sigma_min=3"),
    ({"target.decay": 1.5}, "target.decay=1.5"),
    ({"dataset.name": "imagenet2012", "dataset.image_size": 224}, "crop_on='device'"),
])
def test_wrong_configs_name_the_field(changes, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.check_config(config_of("group_ws", **changes), 1)
