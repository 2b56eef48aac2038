"""Autoencoding: a fully connected network learns to return its input, an image.

    loss 'squared'         sum over the pixels of (pixel - output)^2
    loss 'cross_entropy'   that of the pixel, in [0, 1], under sigmoid(output), summed likewise

Both are means over the images. With the untied network of 784-1000-500-250-30 units and its mirror
this is the benchmark of optimizers after Hinton and Salakhutdinov (2006), which arXiv 2006.15081
uses too (recalled); with the tied one that of arXiv 1807.06766 (recalled).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax import data, optim
from nfnets_jax.config import ConfigError, Field, Fields, boolean, integer, number, text
from nfnets_jax.nets.autoencoder import ACTIVATIONS, create_autoencoder
from nfnets_jax.reports import reconstructions
from nfnets_jax.tasks import checks, inputs, lengths
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.gradients import temperature_of
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Objective, Task
from nfnets_jax.training.mesh import DATA, mean_over_devices

LOSSES = ("squared", "cross_entropy")

FIELDS: Fields = {
    **checks.BUDGET_FIELDS,
    "batch_size": integer(256, 1, 2**20),
    "evaluation_batch_size": integer(1024, 1, 2**20),
    "loss": text("squared", LOSSES),
    "network": {
        "widths": Field(
            (1000, 500, 250, 30), tuple, "whole numbers of at least 1, for instance (300, 30)",
            lambda sizes: len(sizes) > 0 and all(type(s) is int and s >= 1 for s in sizes)),
        "activation": text("sigmoid", tuple(ACTIVATIONS)),
        "tied": boolean(False),
    },
    "dataset": checks.dataset_fields("mnist"),
    "optimizer": {
        "learning_rate": number(0.01, 0),
        **checks.OPTIMIZER_FIELDS,
        "weight_decay": number(0.0, 0),
    },
    "schedule": checks.SCHEDULE_FIELDS,
}

HYPER = {name: f"optimizer.{name}" for name in (
    "learning_rate", "momentum", "beta1", "beta2", "xi", "weight_decay")}
_NUM_DRAWN = 10  # images in the figure


class State(NamedTuple):
    """All that training changes, and the scalars that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      params: the network's parameters, float32.
      opt_state: of the optax optimizer.
      hyper: learning_rate (the peak), weight_decay, what the optimizer has of momentum, beta1,
        beta2 and xi.
    """

    step: jax.Array
    params: hk.Params
    opt_state: optax.OptState
    hyper: Hyper


def create_task(
    network: hk.Transformed,
    *,
    image_shape: tuple[int, int, int],
    schedule: optax.Schedule,
    loss: str = "squared",
    create_optimizer: Callable[..., optax.GradientTransformation] = optim.create_optimizer,
) -> Task:
    """The three functions of autoencoding.

    Args:
      network: pixels in 0 .. 1 [N, D] to outputs [N, D].
      image_shape: (height, width, channels), of D numbers.
      schedule: step to a factor of `hyper['learning_rate']`.
      loss: one of `LOSSES`.
      create_optimizer: `(learning_rate, hyper) -> optimizer`.

    Returns:
      A task whose batch is a dict of image uint8 [N, H, W, C] and, for evaluation, mask
      float32 [N].
    """

    def optimizer(hyper: Hyper, step: jax.Array) -> optax.GradientTransformation:
        return create_optimizer(hyper["learning_rate"] * schedule(step), hyper)

    def init(key: jax.Array, hyper: Hyper) -> State:
        params = network.init(key, pixels_of(jnp.zeros((1, *image_shape), jnp.uint8)))
        start = jnp.zeros((), jnp.int32)
        return State(start, params, optimizer(hyper, start).init(params), hyper)

    errors = _make_errors(network, loss)

    def step(state: State, batch: dict, key: jax.Array) -> tuple[State, Metrics]:
        del key
        value, grads = jax.value_and_grad(
            lambda params: jnp.mean(errors(params, batch["image"])[0]))(state.params)
        value, grads = mean_over_devices((value, grads))
        updates, opt_state = optimizer(state.hyper, state.step).update(
            grads, state.opt_state, state.params)
        metrics = {
            "loss": value,
            "learning_rate": state.hyper["learning_rate"] * schedule(state.step),
            "gradient_norm": optax.tree.norm(grads),
        }
        params = optax.apply_updates(state.params, updates)
        return State(state.step + 1, params, opt_state, state.hyper), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        mask = batch["mask"]
        values, squared = errors(state.params, batch["image"])
        metrics = {"loss": values, "squared_error": squared, "count": jnp.ones_like(mask)}
        return jax.lax.psum(
            {k: jnp.sum(jnp.where(mask > 0, v, 0.0)) for k, v in metrics.items()}, DATA)

    return Task(init, step, evaluate)


def create_objective(network: hk.Transformed, loss: str,
                     examples: Callable[[int | None], dict],
                     temperature: Callable[[State], jax.Array] | None = None) -> Objective:
    """The loss of each image as a function of the parameters.

    Args:
      network, loss: as for `create_task`.
      examples: `count -> batch` with image, see `Objective`.
      temperature: see `Objective`.
    """
    errors = _make_errors(network, loss)

    def losses(params, state, batch, is_training):
        del state, is_training
        return errors(params, batch["image"])[0]

    return Objective(lambda state: state.params, losses, examples, temperature=temperature)


def _make_errors(network: hk.Transformed, loss: str) -> Callable:
    def errors(params: hk.Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Loss and squared error of each image [N]."""
        pixels = pixels_of(images)
        outputs = network.apply(params, pixels)
        squared = jnp.sum(jnp.square(pixels - reconstruction_of(outputs, loss)), axis=-1)
        if loss == "squared":
            return squared, squared
        return jnp.sum(optax.sigmoid_binary_cross_entropy(outputs, pixels), axis=-1), squared

    return errors


def pixels_of(images: jax.Array) -> jax.Array:
    """Images uint8 [N, H, W, C] as float32 [N, H W C] in 0 .. 1."""
    return jnp.reshape(images, (len(images), -1)).astype(jnp.float32) / 255.0


def reconstruction_of(outputs: jax.Array, loss: str) -> jax.Array:
    """The pixels that the network's outputs stand for."""
    return jax.nn.sigmoid(outputs) if loss == "cross_entropy" else outputs


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields fit together, and fills in the size of the images.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    dataset = config["dataset"]
    info = checks.check_dataset(dataset["name"])
    if dataset["image_size"] is None:
        if info.image_size is None:
            raise ConfigError(f"dataset.image_size=None: the images of {dataset['name']} have many "
                              "sizes; set it to the number of pixels on a side, such as 32")
        dataset["image_size"] = info.image_size
    if dataset["evaluation_image_size"] not in (None, dataset["image_size"]):
        raise ConfigError(
            f"dataset.evaluation_image_size={dataset['evaluation_image_size']}: must be "
            f"dataset.image_size={dataset['image_size']}, the size that the network is made for")
    dataset["evaluation_image_size"] = dataset["image_size"]
    checks.check_optimizer(config["optimizer"], nesterov=False)
    checks.check_batch(config, device_count)
    checks.check_budget(config, default_epochs=200.0)
    checks.check_schedule(config)
    return config


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config; opens the data set.

    Raises:
      ConfigError: if the run would have no step, or a split does not exist.
      FileNotFoundError: if the data set is not on this machine; says how to get it.
    """
    dataset = config["dataset"]
    size = dataset["image_size"]
    total_steps = lengths.count_steps(config)
    schedule = lengths.create_schedule(config, total_steps)
    network = create_autoencoder(**config["network"])
    evaluation_batches = inputs.evaluation_batches(config, process_index, process_count)

    def train_batches(start_step: int):
        return data.train_batches(
            dataset["name"], split=dataset["train_split"], batch_size=config["batch_size"],
            seed=config["seed"], start_step=start_step, image_size=size,
            data_dir=dataset["data_dir"], process_index=process_index,
            process_count=process_count, num_threads=dataset["loader_threads"])

    return Experiment(
        task=create_task(
            network,
            image_shape=(size, size, data.info(dataset["name"]).channels),
            schedule=schedule,
            loss=config["loss"],
            create_optimizer=optim.optimizer_of(config["optimizer"]),
        ),
        hyper=read_hyper(config),
        total_steps=total_steps,
        examples_per_step=config["batch_size"],
        train_batches=train_batches,
        evaluation_batches=evaluation_batches,
        evaluation_split=dataset["evaluation_split"],
        best_metric="loss",
        figures={"reconstructions": _figure(
            network, lambda: next(evaluation_batches(dataset["evaluation_split"])),
            config["loss"])},
        best_is_smallest=True,
        splits=inputs.splits(dataset),
        resident=data.resident_split(
            dataset["name"], split=dataset["train_split"], image_size=size,
            batch_size=config["batch_size"], data_dir=dataset["data_dir"]),
        objective=create_objective(network, config["loss"], inputs.training_examples(config),
                                   temperature_of(config, schedule)),
    )


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return {name: value for name, value in task_lib.read_hyper(config, HYPER).items()
            if value is not None}


def _figure(network: hk.Transformed, first_batch: Callable[[], dict], loss: str) -> Callable:
    """The function `(state, path) -> measurements` that draws a state's reconstructions."""

    def draw(state: State, path: str) -> dict[str, np.ndarray]:
        batch = first_batch()
        images = batch["image"][batch["mask"] > 0][:_NUM_DRAWN]
        pixels = np.asarray(pixels_of(images))
        restored = np.asarray(reconstruction_of(network.apply(state.params, pixels), loss))
        errors = np.sum(np.square(pixels - restored), axis=-1)
        reconstructions.plot(
            pixels.reshape(images.shape), restored.reshape(images.shape), path,
            f"after {int(state.step)} steps, squared error {errors.mean():.4g}")
        return {"squared_error": errors}

    return draw
