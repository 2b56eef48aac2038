"""What the recipes add to a step: mixing, adaptive gradient clipping, sharpness-aware ascent."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nfnets_jax import config as config_lib
from nfnets_jax.config import ConfigError
from nfnets_jax.data import images
from tests import tiny_config
from tests.tasks import test_classification as plain


def train(task, hyper, batches, devices=1):
    programs = plain.loop.map_task(
        task, plain.mesh.make_mesh(devices=jax.devices()[:devices]))
    state = programs.init(np.uint32(0), {k: np.float32(v) for k, v in hyper.items()})
    for batch in batches:
        state, metrics = programs.step(
            state, {k: v for k, v in batch.items() if k != "mask"})
    return jax.device_get(state.task), jax.device_get(metrics)


def float64_gradient(batch, w, b, smoothing=0.1):
    x = ((batch["image"] - np.array(plain.MEAN)) / np.array(plain.STD)).reshape(
        len(batch["label"]), -1)
    targets = np.eye(10)[batch["label"]] * (1 - smoothing) + smoothing / 10
    logits = x @ w + b
    p = np.exp(logits - logits.max(-1, keepdims=True))
    delta = (p / p.sum(-1, keepdims=True) - targets) / len(x)
    return [x.T @ delta, delta.sum(0)]


def first_examples(batch, count):
    return {name: values[:count] for name, values in batch.items()}


@pytest.mark.parametrize("fraction, accumulation_steps", [(1.0, 1), (1.0, 4), (0.25, 1)])
def test_sam_takes_the_gradient_where_the_loss_is_higher(fraction, accumulation_steps):
    batch, rho = plain.make_batch(), 0.5
    start, _, _ = plain.run(plain.make_task(), [])
    w, b = (np.asarray(start.params["linear"][name], float) for name in "wb")
    ascent = float64_gradient(first_examples(batch, round(16 * fraction)), w, b)
    norm = np.sqrt(sum(np.sum(g**2) for g in ascent))
    gradient = float64_gradient(batch, *(p + rho * g / norm for p, g in zip((w, b), ascent,
                                                                            strict=True)))
    gradient[0] += plain.HYPER["weight_decay"] * w  # decay is of the weights themselves
    expected = [p - 0.2 * 1.9 * g for p, g in zip((w, b), gradient, strict=True)]
    task = plain.make_task(sam_fraction=fraction, accumulation_steps=accumulation_steps)
    state, _ = train(task, plain.HYPER | {"sam_rho": rho}, [batch])
    np.testing.assert_allclose(state.params["linear"]["w"], expected[0], atol=2e-6)
    np.testing.assert_allclose(state.params["linear"]["b"], expected[1], atol=2e-6)


def test_sam_is_the_same_on_any_number_of_devices():
    batches = [plain.make_batch(seed) for seed in range(3)]
    hyper = plain.HYPER | {"sam_rho": 0.5}
    one, _ = train(plain.make_task(), hyper, batches)
    four, _ = train(plain.make_task(), hyper, batches, devices=4)
    np.testing.assert_allclose(four.params["linear"]["w"], one.params["linear"]["w"], atol=1e-6)


def test_clipped_step_is_clipped():
    batch = plain.make_batch()
    start, _, _ = plain.run(plain.make_task(), [])
    w, b = (np.asarray(start.params["linear"][name], float) for name in "wb")
    gradient = float64_gradient(batch, w, b)
    clipping = 1e-3
    for i, (g, p) in enumerate(zip(gradient, (w, b), strict=True)):
        axis = 0 if p.ndim == 2 else None
        bound = clipping * np.maximum(np.linalg.norm(p, axis=axis, keepdims=True), 1e-3)
        norm = np.linalg.norm(g, axis=axis, keepdims=True)
        assert np.all(norm > bound)
        gradient[i] = g * bound / norm
    gradient[0] += plain.HYPER["weight_decay"] * w
    state, _ = train(plain.make_task(), plain.HYPER | {"agc_clipping": clipping}, [batch])
    np.testing.assert_allclose(state.params["linear"]["w"], w - 0.38 * gradient[0], atol=2e-6)
    np.testing.assert_allclose(state.params["linear"]["b"], b - 0.38 * gradient[1], atol=2e-6)


def test_mixed_images_meet_mixed_targets():
    batch = plain.make_batch()

    def mix(key, pixels, labels, index):
        # A known mixture: two thirds of each image and a third of its neighbour.
        swapped = pixels.reshape(-1, 2, *pixels.shape[1:])[:, ::-1].reshape(pixels.shape)
        targets = jax.nn.one_hot(labels, 10)
        partner = targets.reshape(-1, 2, 10)[:, ::-1].reshape(targets.shape)
        return (2.0 * pixels + swapped) / 3, (2.0 * targets + partner) / 3

    start, _, _ = plain.run(plain.make_task(), [])
    w, b = (np.asarray(start.params["linear"][name], float) for name in "wb")
    order = np.arange(16) ^ 1
    x = batch["image"].astype(float)
    x = (2 * x + x[order]) / 3
    x = ((x - np.array(plain.MEAN)) / np.array(plain.STD)).reshape(16, -1)
    targets = np.eye(10)[batch["label"]]
    targets = 0.9 * (2 * targets + targets[order]) / 3 + 0.01
    logits = x @ w + b
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    delta = (np.exp(log_p) - targets) / 16
    state, metrics = train(plain.make_task(mix=mix), plain.HYPER, [batch])
    np.testing.assert_allclose(metrics["loss"], -(targets * log_p).sum(-1).mean(), rtol=1e-5)
    # Against the label of the image itself.
    assert metrics["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == batch["label"]))
    expected = w - 0.38 * (x.T @ delta + plain.HYPER["weight_decay"] * w)
    np.testing.assert_allclose(state.params["linear"]["w"], expected, atol=2e-6)


AUGMENTATION = dict(mixup_alpha=0.2, cutmix=True, randaugment_layers=2, randaugment_magnitude=10.0,
                    translate_pixels=4.0, cutout_pixels=2.0)


def test_number_of_devices_does_not_change_augmented_training():
    experiment = plain.experiment_of("nf_resnet_digits", augmentation=AUGMENTATION)
    one = plain.losses_on(1, experiment)
    np.testing.assert_allclose(plain.losses_on(4, experiment), one, rtol=5e-4)
    unmixed = plain.losses_on(1, plain.experiment_of("nf_resnet_digits"))
    assert np.max(np.abs(one - unmixed)) > 0.01


def test_random_augmentation_without_mixing_keeps_the_labels():
    only = dict(AUGMENTATION, mixup_alpha=0.0, cutmix=False)
    experiment = plain.experiment_of("nf_resnet_digits", augmentation=only)
    losses = plain.losses_on(1, experiment)
    np.testing.assert_allclose(plain.losses_on(2, experiment), losses, rtol=5e-4)


def test_pairs_must_fit_each_device_and_slice():
    config = tiny_config.get_config("nf_resnet_digits").to_dict()
    config["augmentation"]["cutmix"] = True
    config["batch_size"] = 20
    config_lib.check_config(config, 2)
    with pytest.raises(ConfigError, match="batch_size=20: .* use 16 or 24"):
        config_lib.check_config(config, 4)


@pytest.mark.parametrize("field, value", [
    ("augmentation.mixup_alpha", -1.0), ("augmentation.randaugment_magnitude", 31.0),
    ("optimizer.agc_clipping", -0.1), ("optimizer.sam_fraction", 0.0),
    ("dataset.evaluation_crop", "squash"), ("dataset.evaluation_image_size", 1)])
def test_wrong_values_are_refused_by_name(field, value):
    config = tiny_config.get_config("nf_resnet_digits").to_dict()
    section, name = field.split(".")
    config[section][name] = value
    with pytest.raises(ConfigError, match=f"{field}="):
        config_lib.check_config(config, 1)


def test_evaluation_may_use_larger_images_than_training():
    experiment = plain.experiment_of("nf_resnet_digits")
    config = tiny_config.get_config("nf_resnet_digits").to_dict()
    config["dataset"]["evaluation_image_size"] = 12
    experiment = plain.tasks.create(config_lib.check_config(config, 1))
    grid = plain.mesh.make_mesh(devices=jax.devices()[:1])
    programs = plain.loop.map_task(experiment.task, grid)
    state = plain.loop.initialize(programs, experiment, 0)
    assert next(experiment.train_batches(0))["image"].shape[1:] == (8, 8, 1)
    batches = list(experiment.evaluation_batches("test"))
    assert batches[0]["image"].shape[1:] == (12, 12, 1)
    assert plain.loop.evaluate(programs, state, batches, grid)["count"] == 360


def test_evaluation_crops():
    # A horizontal ramp, 96 wide and 64 high: what the crops keep of it is known.
    ramp = np.broadcast_to(np.linspace(0, 255, 96)[None, :, None], (64, 96, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, "PNG")
    image = out.getvalue()
    squashed = images.load_for_evaluation(image, 32, 3, "resize_crop")
    cropped = images.load_for_evaluation(image, 32, 3, "crop_resize")
    assert squashed.shape == cropped.shape == (32, 32, 3)
    # The central half of the whole width, and the central 32 of the short side's 64 pixels.
    assert float(squashed[0, -1, 0]) - float(squashed[0, 0, 0]) == pytest.approx(
        255 * 31 / 64, abs=3)
    assert float(cropped[0, -1, 0]) - float(cropped[0, 0, 0]) == pytest.approx(
        255 * 31 / 96, abs=3)
    assert jnp.abs(squashed[:, 16, 0] - 127.5).max() < 4
