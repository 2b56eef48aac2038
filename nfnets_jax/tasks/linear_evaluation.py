"""Linear evaluation: a linear classifier on a frozen encoder (arXiv 2006.07733).

One classifier for each learning rate is trained at once, on the same features: a population of
members that share the encoder's forward pass. The best on the evaluation split is then evaluated,
alone and once, on the test split.
"""

import functools
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax import data, nets, optim
from nfnets_jax.config import Fields, boolean, integer, number, numbers, text
from nfnets_jax.tasks import byol_config, checks, inputs, lengths
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.evaluation import classification_sums
from nfnets_jax.tasks.task import Experiment, Hyper, Measurement, Metrics, Task
from nfnets_jax.training import pretrained
from nfnets_jax.training.mesh import mean_over_devices

FIELDS: Fields = {
    **checks.BUDGET_FIELDS,
    "batch_size": integer(1024, 1, 2**20),
    "evaluation_batch_size": integer(1024, 1, 2**20),
    "precision": text("float32", tuple(checks.POLICIES)),
    "network": checks.network_fields(checks.PRETRAINED),
    "pretrained": checks.PRETRAINED_FIELDS,
    "dataset": {**checks.dataset_fields("imagenet2012"), "test_split": text("test")},
    "augmentation": {
        "crop_on": text("host", ("host", "device")),
        "crop_min_area": number(0.08, 0, 1, open_below=True),
        "crop_max_area": number(1.0, 0, 1, open_below=True),
        "flip": boolean(True),
    },
    "optimizer": {
        # For each 256 images of the batch.
        "base_learning_rates": numbers((0.4, 0.3, 0.2, 0.1, 0.05), 0),
        "momentum": number(0.9, 0, 1, open_above=True),
    },
    "schedule": {**checks.SCHEDULE_FIELDS, "warmup_epochs": number(0.0, 0, 1e6)},
}

# The rates are members of one run already; how many there are is part of the program.
HYPER = {"momentum": "optimizer.momentum"}


class State(NamedTuple):
    """All that the evaluation changes, and what it leaves alone.

    Attributes:
      step: int32 scalar.
      params: of the encoder, frozen.
      network_state: of the encoder, frozen.
      classifiers: parameters of all members, with a leading axis [members].
      opt_state: likewise.
      hyper: learning_rate [members], momentum.
    """

    step: jax.Array
    params: hk.Params
    network_state: hk.State
    classifiers: hk.Params
    opt_state: optax.OptState
    hyper: Hyper


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields of a linear evaluation fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    info = checks.check_dataset(config["dataset"]["name"])
    checks.check_pretrained(config)
    config["network"] = checks.check_network(config["network"], None)
    checks.check_image_sizes(config, info.image_size)
    checks.check_batch(config, device_count)
    checks.check_budget(config, default_epochs=80.0)
    checks.check_schedule(config)
    byol_config.check_crop(config, info.image_size)
    return config


def create_task(
    encoder: hk.TransformedWithState, classifier: hk.Transformed, *, image_shape, make_images,
    preprocess, schedule: optax.Schedule, names: tuple[str, ...], policy,
) -> Task:
    """The three functions of linear evaluation.

    Args:
      encoder: `(images, is_training) -> {'features': [N, F]}`.
      classifier: features to logits.
      image_shape: that the encoder is initialised with.
      make_images: `(key, batch) -> float32 [N, S, S, C]`, augmented and normalised.
      preprocess: uint8 images to float32, normalised.
      schedule: step to a factor of every learning rate.
      names: of the members, in the order of their learning rates; they end metrics' names.
      policy: the dtype of the encoder's activations.
    """
    def optimizer(learning_rate, momentum, step) -> optax.GradientTransformation:
        return optim.sgd(
            learning_rate * schedule(step), momentum=momentum, weight_decay=0.0, nesterov=True)

    def features_of(params, network_state, images):
        outputs, _ = encoder.apply(
            params, network_state, None, policy.cast_to_compute(images), False)
        return outputs["features"]

    def init(key: jax.Array, hyper: Hyper) -> State:
        key_encoder, key_classifier = jax.random.split(key)
        images = jnp.zeros((2, *image_shape), jnp.float32)
        params, network_state = encoder.init(key_encoder, images, True)
        features = features_of(params, network_state, images)
        start = jnp.zeros((), jnp.int32)

        def one(learning_rate):  # all members start the same
            own = classifier.init(key_classifier, features)
            return own, optimizer(learning_rate, hyper["momentum"], start).init(own)

        classifiers, opt_state = jax.vmap(one)(hyper["learning_rate"])
        return State(start, params, network_state, classifiers, opt_state, hyper)

    def step(state: State, batch: dict, key: jax.Array) -> tuple[State, Metrics]:
        features = features_of(state.params, state.network_state, make_images(key, batch))
        labels = batch["label"]

        def loss_fn(own):
            logits = classifier.apply(own, None, features)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return loss, jnp.mean(jnp.argmax(logits, axis=-1) == labels)

        grads, (losses, accuracies) = mean_over_devices(_gradient(loss_fn, state.classifiers))

        def update(own, grad, opt_state, learning_rate):
            updates, opt_state = optimizer(
                learning_rate, state.hyper["momentum"], state.step).update(grad, opt_state, own)
            return optax.apply_updates(own, updates), opt_state

        classifiers, opt_state = jax.vmap(update)(
            state.classifiers, grads, state.opt_state, state.hyper["learning_rate"])
        metrics = {"loss": losses.mean(), "accuracy": accuracies.max()}
        metrics |= {f"loss_{name}": losses[i] for i, name in enumerate(names)}
        metrics["learning_rate"] = state.hyper["learning_rate"].max() * schedule(state.step)
        return state._replace(
            step=state.step + 1, classifiers=classifiers, opt_state=opt_state), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        features = features_of(state.params, state.network_state, preprocess(batch["image"]))
        logits = jax.vmap(lambda own: classifier.apply(own, None, features))(state.classifiers)
        sums = jax.vmap(lambda logits: classification_sums(logits, batch))(logits)
        metrics = {"count": sums.pop("count")[0]}
        for metric, values in sums.items():
            metrics |= {f"{metric}_{name}": values[i] for i, name in enumerate(names)}
        return metrics

    return Task(init, step, evaluate)


def _gradient(loss_fn, classifiers):
    """Gradients, and (losses, accuracies), of all members."""
    def one(own):
        (loss, accuracy), grad = jax.value_and_grad(loss_fn, has_aux=True)(own)
        return grad, (loss, accuracy)

    return jax.vmap(one)(classifiers)


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config; opens the data set.

    Raises:
      ConfigError: if the run would have no step, or a split does not exist.
      FileNotFoundError: if the data set is not on this machine; says how to get it.
    """
    dataset, augmentation = config["dataset"], config["augmentation"]
    info = data.info(dataset["name"])
    size = dataset["image_size"]
    on_host = augmentation["crop_on"] == "host"
    rates = config["optimizer"]["base_learning_rates"]
    names = tuple(f"lr_{rate:g}" for rate in rates)
    total_steps = lengths.count_steps(config)
    preprocess = functools.partial(data.normalize, mean=info.mean, std=info.std)
    spec = data.ViewSpec(
        crop_min_area=augmentation["crop_min_area"], crop_max_area=augmentation["crop_max_area"],
        flip_probability=0.5 * augmentation["flip"], jitter_probability=0.0,
        grayscale_probability=0.0)

    def make_images(key: jax.Array, batch: dict) -> jax.Array:
        return preprocess(255.0 * data.make_view(
            key, batch["image"], batch["index"], spec, image_size=None if on_host else size))

    def measure(state: State, means: dict, split: str, mesh) -> Measurement:
        del state, split, mesh
        best = _best(means, names)
        return Measurement({"accuracy": means[f"accuracy_{best}"], "loss": means[f"loss_{best}"]})

    def conclude(evaluate) -> tuple[str, Measurement]:
        best = _best(evaluate(dataset["evaluation_split"]), names)
        means = evaluate(dataset["test_split"])
        chosen = {metric: means[f"{metric}_{best}"]
                  for metric in ("accuracy", "loss", "top_5_accuracy")
                  if f"{metric}_{best}" in means}
        remark = (f"{dataset['test_split']} accuracy {chosen['accuracy']:.2%} with base learning "
                  f"rate {best.removeprefix('lr_')}, chosen on {dataset['evaluation_split']}")
        return "conclusion", Measurement(
            {**chosen, "base_learning_rate": float(best.removeprefix("lr_"))}, remark)

    return Experiment(
        task=create_task(
            nets.create(**config["network"], num_classes=None),
            hk.transform(lambda x: hk.Linear(info.num_classes, name="classifier")(x)),
            image_shape=(size, size, info.channels),
            make_images=make_images,
            preprocess=preprocess,
            schedule=lengths.create_schedule(config, total_steps),
            names=names,
            policy=checks.POLICIES[config["precision"]],
        ),
        hyper=read_hyper(config),
        total_steps=total_steps,
        examples_per_step=config["batch_size"],
        train_batches=inputs.cropped_batches(config, process_index, process_count),
        evaluation_batches=inputs.evaluation_batches(config, process_index, process_count),
        evaluation_split=dataset["evaluation_split"],
        best_metric="accuracy",
        figures={},
        prepare=pretrained.preparation(config, _with_encoder),
        measure=measure,
        conclude=conclude,
    )


def read_hyper(config: dict[str, Any]) -> dict[str, Any]:
    """The traced values of a checked config; one learning rate for each classifier."""
    rates = np.array(config["optimizer"]["base_learning_rates"])
    return {**task_lib.read_hyper(config, HYPER),
            "learning_rate": rates * config["batch_size"] / 256}


def _best(means: dict[str, float], names: tuple[str, ...]) -> str:
    """The member of the best accuracy; of equals that of the smallest loss."""
    return max(names, key=lambda name: (means[f"accuracy_{name}"], -means[f"loss_{name}"]))


def _with_encoder(state: State, params: hk.Params, network_state: hk.State) -> State:
    return state._replace(params=dict(params), network_state=dict(network_state))
