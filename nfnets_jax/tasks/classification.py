"""Image classification: softmax cross-entropy with label smoothing, SGD, EMA of the parameters.

The recipe is that of the normalizer-free networks (arXiv 2101.08692, section 5, arXiv 2102.06171
and the authors' released configurations): L2 regularisation without gains and biases, label
smoothing, warm-up and cosine decay; mixup, CutMix and RandAugment, adaptive gradient clipping and
sharpness-aware minimisation where asked for. Everything is a field of the config.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import optax

from nfnets_jax import data, optim
from nfnets_jax.tasks import classification_figures, inputs, lengths, quantization
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.checks import POLICIES
from nfnets_jax.tasks.classification_config import FIELDS as FIELDS
from nfnets_jax.tasks.classification_config import check as check
from nfnets_jax.tasks.classification_network import create_network
from nfnets_jax.tasks.evaluation import classification_sums
from nfnets_jax.tasks.gradients import mean_over_slices, temperature_of
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Objective, Task
from nfnets_jax.training import pretrained
from nfnets_jax.training.mesh import DATA, mean_over_devices

HYPER = {name: f"optimizer.{name}" for name in (
    "learning_rate", "momentum", "beta1", "beta2", "xi", "weight_decay", "agc_clipping",
    "sam_rho")}
HYPER["label_smoothing"] = "label_smoothing"


class State(NamedTuple):
    """All that training changes, and the scalars that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      params: the network's parameters, float32.
      network_state: moving averages of batch normalization; empty for the other networks.
      opt_state: of the optax optimizer.
      ema_params: exponential moving average of the parameters, or () when it is off.
      ema_network_state: likewise of the network's state.
      hyper: learning_rate, weight_decay, label_smoothing, what the optimizer has of momentum,
        beta1, beta2 and xi; agc_clipping and sam_rho where they are used.
    """

    step: jax.Array
    params: hk.Params
    network_state: hk.State
    opt_state: optax.OptState
    ema_params: hk.Params | tuple[()]
    ema_network_state: hk.State | tuple[()]
    hyper: Hyper


def create_task(
    network: hk.TransformedWithState,
    *,
    image_shape: tuple[int, int, int],
    preprocess: Callable[[jax.Array], jax.Array],
    augment: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    schedule: optax.Schedule,
    mix: Callable[..., tuple[jax.Array, jax.Array]] | None = None,
    create_optimizer: Callable[..., optax.GradientTransformation] = optim.create_optimizer,
    sam_fraction: float = 1.0,
    ema_decay: float = 0.0,
    accumulation_steps: int = 1,
    policy: jmp.Policy = POLICIES["float32"],
    quantize: quantization.Quantization | None = None,
) -> Task:
    """The three functions of image classification.

    Args:
      network: `(images, is_training) -> {'logits': [N, classes], ...}`.
      image_shape: (height, width, channels) that the network is initialised with.
      preprocess: uint8 images [N, H, W, C] to float32, normalised.
      augment: `(key, images, index) -> images`; the example with global index i is augmented
        in the same way whatever its place in the batch.
      schedule: step to a factor of `hyper['learning_rate']`.
      mix: `(key, images, labels, index) -> (images, targets)`, applied after `augment`: images in
        pixel values, targets float32 [N, classes]. None for the labels as they are.
      create_optimizer: `(learning_rate, hyper) -> optimizer`. Adaptive gradient clipping is on
        where `hyper` has `agc_clipping`.
      sam_fraction: share of each device's examples on which sharpness-aware minimisation
        ascends, which is on where `hyper` has `sam_rho`.
      ema_decay: of the average that is evaluated; 0 evaluates the parameters themselves.
      accumulation_steps: gradients of this many slices of the batch are averaged in turn, so
        that only one slice is in memory.
      policy: the dtype of the network's activations.
      quantize: how weights are kept on a grid; None for float weights.

    Returns:
      A task whose batch is a dict of image uint8 [N, H, W, C], label int32 [N], index uint32
      [N] and, for evaluation, mask float32 [N].
    """

    def optimizer(hyper: Hyper, step: jax.Array) -> optax.GradientTransformation:
        inner = create_optimizer(hyper["learning_rate"] * schedule(step), hyper)
        return inner if quantize is None else quantize.wrap(inner)

    def init(key: jax.Array, hyper: Hyper) -> State:
        images = jnp.zeros((2, *image_shape), jnp.float32)
        params, network_state = network.init(key, images, is_training=True)
        start = jnp.zeros((), jnp.int32)
        opt_state = optimizer(hyper, start).init(params)
        if quantize is not None:
            params = quantize.start(_key_of_rounding(key), params)
        return State(
            step=start,
            params=params,
            network_state=network_state,
            opt_state=opt_state,
            ema_params=jax.tree.map(jnp.array, params) if ema_decay else (),
            ema_network_state=jax.tree.map(jnp.array, network_state) if ema_decay else (),
            hyper=hyper,
        )

    forward = _make_forward(network, preprocess, policy)

    def loss_fn(params, network_state, key, images, labels, targets, label_smoothing):
        logits, network_state = forward(params, network_state, key, images, is_training=True)
        if targets is None:
            targets = jax.nn.one_hot(labels, logits.shape[-1])
        loss = _cross_entropy(logits, targets, label_smoothing).mean()
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        return loss, (network_state, {"loss": loss, "accuracy": accuracy})

    def mean_gradient(params, network_state, batch, keys, label_smoothing):
        """Gradient, metrics and state of the whole batch: of all slices and devices."""
        key_augment, key_network = keys
        def gradient_of_slice(network_state, inputs):
            number, part = inputs
            images, targets = augment(key_augment, part["image"], part["index"]), None
            if mix is not None:
                key_mix = jax.random.fold_in(key_augment, 1)
                images, targets = mix(key_mix, images, part["label"], part["index"])
            key_slice = jax.random.fold_in(key_network, number)
            grads, (network_state, metrics) = jax.grad(loss_fn, has_aux=True)(
                params, network_state, key_slice, images, part["label"], targets, label_smoothing)
            return network_state, (grads, metrics)

        used = {name: batch[name] for name in ("image", "label", "index")}
        network_state, (grads, metrics) = mean_over_slices(
            gradient_of_slice, network_state, used, accumulation_steps)
        return mean_over_devices((grads, metrics, network_state))

    def ascend(params, network_state, batch, keys, hyper):
        """w + rho g / ||g||, where g is the gradient of a share of the batch."""
        multiple = accumulation_steps * (2 if mix is not None else 1)
        count = math.ceil(sam_fraction * len(batch["label"]) / multiple) * multiple
        batch = jax.tree.map(lambda x: x[:count], batch)
        grads, _, _ = mean_gradient(params, network_state, batch, keys, hyper["label_smoothing"])
        direction, _ = optax.contrib.normalize().update(grads, optax.EmptyState())
        return jax.tree.map(lambda w, g: w + hyper["sam_rho"] * g, params, direction)

    def step(state: State, batch: dict, key: jax.Array) -> tuple[State, Metrics]:
        key_augment, key_network = jax.random.split(key)
        keys = key_augment, jax.random.fold_in(key_network, jax.lax.axis_index(DATA))
        params = state.params
        if "sam_rho" in state.hyper:
            params = ascend(params, state.network_state, batch, keys, state.hyper)
        grads, metrics, network_state = mean_gradient(
            params, state.network_state, batch, keys, state.hyper["label_smoothing"])

        rounds = {} if quantize is None else {"key": _key_of_rounding(key)}
        updates, opt_state = optimizer(state.hyper, state.step).update(
            grads, state.opt_state, state.params, **rounds)
        params = optax.apply_updates(state.params, updates)
        if quantize is not None:
            params = quantize.project(params)
        average = (state.ema_params, state.ema_network_state)
        if ema_decay:
            # The warm-up of TensorFlow's ExponentialMovingAverage, as in the released code.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            average = _move_average(average, (params, network_state), decay)
        metrics = metrics | {
            "learning_rate": state.hyper["learning_rate"] * schedule(state.step),
            "gradient_norm": optax.tree.norm(grads),
        }
        state = State(
            state.step + 1, params, network_state, opt_state, *average, state.hyper)
        return state, metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        params, network_state = (
            (state.ema_params, state.ema_network_state) if ema_decay
            else (state.params, state.network_state))
        if quantize is not None:
            params = quantize.evaluated(state.opt_state, params)
        logits, _ = forward(params, network_state, None, batch["image"], is_training=False)
        return classification_sums(logits, batch)

    return Task(init, step, evaluate)


def create_objective(
    network: hk.TransformedWithState,
    preprocess: Callable[[jax.Array], jax.Array],
    examples: Callable[[int | None], dict],
    policy: jmp.Policy = POLICIES["float32"],
    temperature: Callable[[State], jax.Array] | None = None,
) -> Objective:
    """The smoothed cross-entropy of each image, without augmentation, of the task's parameters.

    Args:
      network, preprocess, policy: as for `create_task`.
      examples: `count -> batch` of image and label, see `Objective`.
      temperature: see `Objective`.
    """
    forward = _make_forward(network, preprocess, policy)

    def losses(params, state, batch, is_training):
        logits, _ = forward(
            params, state.network_state, jax.random.key(0), batch["image"], is_training)
        return _cross_entropy(logits, jax.nn.one_hot(batch["label"], logits.shape[-1]),
                              state.hyper["label_smoothing"])

    return Objective(lambda state: state.params, losses, examples,
                     lambda state: bool(state.network_state), temperature)


def _make_forward(network, preprocess, policy):
    """`(params, network_state, key, images, is_training) -> (logits, network_state)`."""

    def forward(params, network_state, key, images, is_training):
        images = policy.cast_to_compute(preprocess(images))
        outputs, network_state = network.apply(params, network_state, key, images, is_training)
        return policy.cast_to_output(outputs["logits"]), network_state

    return forward


def _cross_entropy(logits, targets, label_smoothing):
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))


def _key_of_rounding(key):
    """A key beside the two that `jax.random.split(key)` gives, the same on all devices."""
    return jax.random.fold_in(key, 2)


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config; clipping and SAM at 0 are not in the program."""
    hyper = task_lib.read_hyper(config, HYPER)
    return {name: value for name, value in hyper.items() if value is not None
            and (value or name not in ("agc_clipping", "sam_rho"))}


def _move_average(average, values, decay):
    """decay * average + (1 - decay) * value; a leaf that is not floating is the newest value."""
    return jax.tree.map(
        lambda a, x: decay * a + (1.0 - decay) * x if jnp.issubdtype(x.dtype, jnp.floating) else x,
        average, values)


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config; opens the data set.

    Raises:
      ConfigError: if the run would have no step, or a split does not exist.
      FileNotFoundError: if the data set is not on this machine; says how to get it.
    """
    dataset = config["dataset"]
    info = data.info(dataset["name"])
    image_shape = (dataset["image_size"], dataset["image_size"], info.channels)
    total_steps = lengths.count_steps(config)
    schedule = lengths.create_schedule(config, total_steps)
    across = {}
    if config["cross_replica_batch_norm"] and "bn_decay_rate" in config["network"]:
        across["cross_replica_axis"] = DATA
    mean = info.mean
    if dataset["normalization"] == "pixel":
        mean = data.mean_image(dataset["name"], split=dataset["train_split"],
                               image_size=dataset["image_size"], data_dir=dataset["data_dir"])
    preprocess = functools.partial(data.normalize, mean=mean, std=info.std)
    network = create_network(config, **across)
    quantize = quantization.create(config["quantization"])
    task = create_task(
        network,
        image_shape=image_shape,
        preprocess=preprocess,
        augment=functools.partial(data.augment, crop_padding=dataset["crop_padding"],
                                  flip=dataset["flip"]),
        schedule=schedule,
        mix=_mixing(config["augmentation"], info.num_classes),
        create_optimizer=optim.optimizer_of(config["optimizer"]),
        sam_fraction=config["optimizer"]["sam_fraction"],
        ema_decay=config["ema_decay"],
        accumulation_steps=config["accumulation_steps"],
        policy=POLICIES[config["precision"]],
        quantize=quantize,
    )
    loading = dict(data_dir=dataset["data_dir"],
                   process_index=process_index, process_count=process_count,
                   num_threads=dataset["loader_threads"])

    def train_batches(start_step: int):
        return data.train_batches(
            dataset["name"], split=dataset["train_split"], batch_size=config["batch_size"],
            seed=config["seed"], start_step=start_step, image_size=dataset["image_size"],
            random_resized_crop=dataset["random_resized_crop"], **loading)

    return Experiment(
        task=task,
        hyper=read_hyper(config),
        total_steps=total_steps,
        examples_per_step=config["batch_size"],
        train_batches=train_batches,
        evaluation_batches=inputs.evaluation_batches(config, process_index, process_count),
        evaluation_split=dataset["evaluation_split"],
        best_metric="accuracy",
        figures={"signal_propagation": classification_figures.figure(
            config, preprocess, train_batches)},
        prepare=pretrained.preparation(config, _with_encoder),
        measure=None if quantize is None else quantization.create_measure(
            quantize, lambda: initial_params(config)),
        splits=inputs.splits(dataset),
        resident=None if dataset["random_resized_crop"] else data.resident_split(
            dataset["name"], split=dataset["train_split"], image_size=dataset["image_size"],
            batch_size=config["batch_size"], data_dir=dataset["data_dir"]),
        chance_loss=math.log(info.num_classes),
        objective=create_objective(
            network, preprocess, inputs.training_examples(config), POLICIES[config["precision"]],
            temperature_of(config, schedule)),
    )


def initial_params(config: Mapping[str, Any]) -> hk.Params:
    """The parameters that a run with a checked config and its seed begins with.

    Bits of float parameters may differ in the last place: these are computed step by step.
    """
    size, channels = config["dataset"]["image_size"], data.info(config["dataset"]["name"]).channels
    key, _ = jax.random.split(jax.random.key(config["seed"]))
    params, _ = create_network(config).init(key, jnp.zeros((2, size, size, channels)), True)
    quantize = quantization.create(config["quantization"])
    return params if quantize is None else quantize.start(_key_of_rounding(key), params)


def encoder_of(state: State) -> tuple[hk.Params, hk.State]:
    """The parameters and the state of a trained network, those that are evaluated.

    Where `quantization.evaluate` is 'latent' they are the quantized weights all the same.
    """
    if state.ema_params:
        return state.ema_params, state.ema_network_state
    return state.params, state.network_state


def _with_encoder(state: State, params: hk.Params, network_state: hk.State) -> State:
    """A new state whose network, but for the classifier, is a pretrained one."""
    params, network_state = {**state.params, **params}, {**state.network_state, **network_state}
    if state.ema_params:
        state = state._replace(ema_params=params, ema_network_state=network_state)
    return state._replace(params=params, network_state=network_state)


def _mixing(augmentation: Mapping[str, Any], num_classes: int) -> Callable | None:
    """Mixup and CutMix, then RandAugment, as a function of (key, images, labels, index)."""
    mixes = augmentation["mixup_alpha"] > 0 or augmentation["cutmix"]
    num_layers = augmentation["randaugment_layers"]
    if not (mixes or num_layers):
        return None

    def mix(key, images, labels, index):
        key_mix, key_randaugment = jax.random.split(key)
        targets = jax.nn.one_hot(labels, num_classes)
        if mixes:
            images, targets = data.mix(
                key_mix, images, targets, index,
                mixup_alpha=augmentation["mixup_alpha"], cutmix=augmentation["cutmix"])
        if num_layers:
            images = data.randaugment(
                key_randaugment, images, index, num_layers=num_layers,
                magnitude=augmentation["randaugment_magnitude"],
                translate_pixels=augmentation["translate_pixels"],
                cutout_pixels=augmentation["cutout_pixels"])
        return images, targets

    return mix
