"""Self-supervised pretraining: BYOL (arXiv 2006.07733, 2010.10241), and SimCLR beside it.

    views      v1, v2: two random views of each image
    online     y = encoder(v), z = projector(y), p = predictor(z), trained
    target     z' = projector'(encoder'(v)), the moving average of the online network
    loss       |p1/|p1| - z2'/|z2'||^2 + |p2/|p2| - z1'/|z1'||^2, mean over the images

A linear classifier, the online probe, is trained beside it on stop_gradient(y of view 1) and says
how good the features are; nothing flows back from it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import optax

from nfnets_jax import data, nets, optim
from nfnets_jax.analysis.embeddings import relative_std
from nfnets_jax.reports import embeddings as embeddings_report
from nfnets_jax.tasks import byol_probes, inputs, lengths
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.byol_config import FIELDS as FIELDS
from nfnets_jax.tasks.byol_config import check as check
from nfnets_jax.tasks.byol_losses import byol_loss, contrastive_loss, target_decay
from nfnets_jax.tasks.checks import POLICIES
from nfnets_jax.tasks.evaluation import classification_sums
from nfnets_jax.tasks.gradients import mean_over_slices
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Task
from nfnets_jax.training.mesh import DATA, mean_over_devices

# What is averaged into the target network.
TARGET_PARTS = ("encoder", "projector")

HYPER = {name: f"optimizer.{name}" for name in (
    "momentum", "weight_decay", "trust_coefficient", "excluded_multiplier",
    "predictor_multiplier")}
HYPER |= {"learning_rate": "optimizer.base_learning_rate", "target_decay": "target.decay",
          "temperature": "objective.temperature"}


class Networks(NamedTuple):
    """The networks of a run, each a function of `(inputs, is_training)`.

    Attributes:
      encoder: images to `{'features': [N, F]}`.
      projector: features to projections [N, D].
      predictor: projections to predictions [N, D]; None to compare projections themselves.
      probe: features to logits.
    """

    encoder: hk.TransformedWithState
    projector: hk.TransformedWithState
    predictor: hk.TransformedWithState | None
    probe: hk.TransformedWithState


class State(NamedTuple):
    """All that training changes, and the scalars that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      params: of the online network, `{'encoder': ..., 'projector': ..., 'predictor': ...,
        'probe': ...}`, float32.
      network_state: moving averages of batch normalization, by the same names.
      target_params: of the target network, encoder and projector; empty for SimCLR.
      target_state: the target's own moving averages, never averaged with the online ones.
      opt_state: of the optax optimizer.
      hyper: learning_rate (the peak), momentum, weight_decay, trust_coefficient,
        excluded_multiplier, predictor_multiplier, target_decay, temperature.
    """

    step: jax.Array
    params: dict[str, hk.Params]
    network_state: dict[str, hk.State]
    target_params: dict[str, hk.Params]
    target_state: dict[str, hk.State]
    opt_state: optax.OptState
    hyper: Hyper


class Functions(NamedTuple):
    """What a run is made of.

    Attributes:
      task: the three functions of the loop.
      features: `(state, images uint8 [N, H, W, C]) -> [N, F]`, as evaluated.
      embed: `(state, batch, key) -> (features [2N, F], projections [2N, D])` of both views in
        training mode, those of view 1 first.
    """

    task: Task
    features: Callable[[State, jax.Array], jax.Array]
    embed: Callable[[State, dict, jax.Array], tuple[jax.Array, jax.Array]]


def create_functions(
    networks: Networks,
    *,
    start_images: Callable[[jax.Array], jax.Array],
    make_views: Callable[[jax.Array, dict], tuple[jax.Array, jax.Array]],
    preprocess: Callable[[jax.Array], jax.Array],
    schedule: optax.Schedule,
    total_steps: int,
    objective: str = "byol",
    decay_schedule: str = "cosine",
    accumulation_steps: int = 1,
    policy: jmp.Policy = POLICIES["float32"],
) -> Functions:
    """The functions of self-supervised pretraining.

    Args:
      networks: encoder, projector, predictor, probe.
      start_images: `key -> float [M, S, S, C]`, normalised, that the networks are initialised with.
      make_views: `(key, batch) -> (v1, v2)`, float32 [N, S, S, C], normalised; an image's views
        depend on the key and its global index alone.
      preprocess: uint8 images to float32, normalised, for the evaluation.
      schedule: step to a factor of `hyper['learning_rate']`.
      total_steps: of the run, for the schedule of the target's decay.
      objective: 'byol' or 'simclr'.
      decay_schedule: of `target_decay`.
      accumulation_steps: gradients of this many slices of the batch are averaged in turn. Batch
        statistics, and SimCLR's negatives, are those of a slice.
      policy: the dtype of the networks' activations; embeddings and losses are float32.
    """
    has_target = objective == "byol"
    has_predictor = has_target and networks.predictor is not None

    def optimizer(hyper: Hyper, step: jax.Array) -> optax.GradientTransformation:
        base = optim.lars(
            hyper["learning_rate"] * schedule(step),
            momentum=hyper["momentum"],
            weight_decay=hyper["weight_decay"],
            trust_coefficient=hyper["trust_coefficient"],
            excluded_multiplier=hyper["excluded_multiplier"],
        )
        if not has_predictor:
            return base
        return optax.chain(base, optax.masked(
            optim.scale_by(hyper["predictor_multiplier"]),
            lambda params: {name: name == "predictor" for name in params}))

    def apply(name, params, state, key, inputs, is_training):
        """Applies one of the networks; returns its output and the new state of all."""
        output, new = getattr(networks, name).apply(
            params[name], state[name], key, policy.cast_to_compute(inputs), is_training)
        return output, {**state, name: new}

    def init_networks(key: jax.Array, images: jax.Array):
        params, state, x = {}, {}, images
        names = ["encoder", "projector"] + ["predictor"] * has_predictor
        for name, own_key in zip(names, jax.random.split(key, len(names)), strict=True):
            params[name], state[name] = getattr(networks, name).init(own_key, x, True)
            x, _ = getattr(networks, name).apply(params[name], state[name], own_key, x, True)
            if name == "encoder":
                x = features = x["features"]
        return params, state, features

    def init(key: jax.Array, hyper: Hyper) -> State:
        key_images, key_online, key_target, key_probe = jax.random.split(key, 4)
        images = start_images(key_images)
        params, network_state, features = init_networks(key_online, images)
        params["probe"], network_state["probe"] = networks.probe.init(key_probe, features, True)
        target_params, target_state = {}, {}
        if has_target:
            # As in the released code the two networks start from different random numbers.
            other_params, other_state, _ = init_networks(key_target, images)
            target_params = {name: other_params[name] for name in TARGET_PARTS}
            target_state = {name: other_state[name] for name in TARGET_PARTS}
        start = jnp.zeros((), jnp.int32)
        return State(start, params, network_state, target_params, target_state,
                     optimizer(hyper, start).init(params), hyper)

    def embed(params, state, key, views: Sequence[jax.Array]):
        """Features and projections of both views, one behind the other, and the new state."""
        # Batch statistics are those of one view; without any, one pass serves both.
        has_statistics = bool(jax.tree.leaves([state[name] for name in TARGET_PARTS]))
        passes = views if has_statistics else [jnp.concatenate(views)]
        outputs = []
        for number, images in enumerate(passes):
            own_key = jax.random.fold_in(key, number)
            y, state = apply("encoder", params, state, own_key, images, True)
            z, state = apply("projector", params, state, None, y["features"], True)
            outputs.append((y["features"], z.astype(jnp.float32)))
        features, projections = map(jnp.concatenate, zip(*outputs, strict=True))
        return features, projections, state

    def predict(params, state, projections):
        if not has_predictor:
            return projections, state
        passes = [projections]
        if jax.tree.leaves(state["predictor"]):
            passes = jnp.split(projections, 2)
        outputs = []
        for z in passes:
            p, state = apply("predictor", params, state, None, z, True)
            outputs.append(p.astype(jnp.float32))
        return jnp.concatenate(outputs), state

    def loss_fn(params, states, target_params, keys, views, labels, hyper):
        network_state, target_state = states
        features, projections, network_state = embed(params, network_state, keys[0], views)
        if has_target:
            predictions, network_state = predict(params, network_state, projections)
            _, targets, target_state = embed(target_params, target_state, keys[1], views)
            other_view = jnp.roll(targets, len(labels), axis=0)
            loss = 2.0 * byol_loss(predictions, other_view).mean()
        else:
            loss = contrastive_loss(projections, hyper["temperature"], DATA)
        logits, _ = networks.probe.apply(
            params["probe"], network_state["probe"], None,
            jax.lax.stop_gradient(features[:len(labels)]), True)
        probe_loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        metrics = {
            "loss": loss,
            "probe_loss": probe_loss,
            "accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == labels),
            "projection_std": relative_std(projections[:len(labels)]),
        }
        return loss + probe_loss, ((network_state, target_state), metrics)

    def step(state: State, batch: dict, key: jax.Array) -> tuple[State, Metrics]:
        key_views, key_network = jax.random.split(key)
        key_network = jax.random.fold_in(key_network, jax.lax.axis_index(DATA))

        def gradient_of_slice(states, inputs):
            number, part = inputs
            keys = jax.random.split(jax.random.fold_in(key_network, number))
            grads, (states, metrics) = jax.grad(loss_fn, has_aux=True)(
                state.params, states, state.target_params, keys, make_views(key_views, part),
                part["label"], state.hyper)
            return states, (grads, metrics)

        used = {name: batch[name] for name in ("image", "label", "index")}
        states, (grads, metrics) = mean_over_slices(
            gradient_of_slice, (state.network_state, state.target_state), used, accumulation_steps)
        grads, metrics, (network_state, target_state) = mean_over_devices((grads, metrics, states))

        updates, opt_state = optimizer(state.hyper, state.step).update(
            grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {
            "learning_rate": state.hyper["learning_rate"] * schedule(state.step),
            "gradient_norm": optax.tree.norm(grads),
        }
        target_params = state.target_params
        if has_target:
            decay = target_decay(
                state.step, total_steps, state.hyper["target_decay"], decay_schedule)
            online = {name: params[name] for name in TARGET_PARTS}
            target_params = optax.incremental_update(online, target_params, 1.0 - decay)
            metrics["target_decay"] = decay
        return State(state.step + 1, params, network_state, target_params, target_state,
                     opt_state, state.hyper), metrics

    def evaluated_features(state: State, images: jax.Array) -> jax.Array:
        outputs, _ = apply("encoder", state.params, state.network_state, None,
                           preprocess(images), False)
        return outputs["features"]

    def evaluate(state: State, batch: dict) -> Metrics:
        logits, _ = networks.probe.apply(
            state.params["probe"], state.network_state["probe"], None,
            evaluated_features(state, batch["image"]), False)
        return classification_sums(logits, batch, "probe_loss")

    def embed_batch(state: State, batch: dict, key: jax.Array):
        features, projections, _ = embed(
            state.params, state.network_state, key, make_views(key, batch))
        return features, projections

    return Functions(Task(init, step, evaluate), evaluated_features, embed_batch)


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
    total_steps = lengths.count_steps(config)
    preprocess = functools.partial(data.normalize, mean=info.mean, std=info.std)
    train_batches = inputs.cropped_batches(config, process_index, process_count, num_views=2)
    evaluation_batches = inputs.evaluation_batches(config, process_index, process_count)
    specs = [data.ViewSpec(crop_min_area=augmentation["crop_min_area"],
                           crop_max_area=augmentation["crop_max_area"], **augmentation[name])
             for name in ("view_1", "view_2")]

    def raw_views(key: jax.Array, batch: dict) -> tuple[jax.Array, ...]:
        keys = jax.random.split(key)
        images = [batch["image"][:, 0], batch["image"][:, 1]] if on_host else [batch["image"]] * 2
        return tuple(data.make_view(
            keys[i], images[i], batch["index"], specs[i],
            image_size=None if on_host else size) for i in range(2))

    def make_views(key: jax.Array, batch: dict) -> tuple[jax.Array, ...]:
        return tuple(preprocess(255.0 * view) for view in raw_views(key, batch))

    def start_images(key: jax.Array) -> jax.Array:
        parts = (config["network"], config["projector"], config["predictor"])
        if not any(part.get("norm") == "calibrated" for part in parts):
            return jnp.zeros((2, size, size, info.channels))
        batch = next(train_batches(0))
        first = {name: batch[name][:config["calibration_size"]] for name in ("image", "index")}
        return jnp.concatenate(make_views(key, first))

    functions = create_functions(
        create_networks(config, info.num_classes),
        start_images=start_images,
        make_views=make_views,
        preprocess=preprocess,
        schedule=lengths.create_schedule(config, total_steps),
        total_steps=total_steps,
        objective=config["objective"]["name"],
        decay_schedule=config["target"]["schedule"],
        accumulation_steps=config["accumulation_steps"],
        policy=POLICIES[config["precision"]],
    )
    probes = byol_probes.Probes(
        config, functions, train_batches, evaluation_batches, raw_views, info.num_classes)
    return Experiment(
        task=functions.task,
        hyper=read_hyper(config),
        total_steps=total_steps,
        examples_per_step=config["batch_size"],
        train_batches=train_batches,
        evaluation_batches=evaluation_batches,
        evaluation_split=dataset["evaluation_split"],
        best_metric="accuracy",
        figures={"views": probes.draw_views, "embeddings": probes.draw_embeddings},
        measure=probes.measure,
        plot_curves=embeddings_report.plot_curves,
    )


def read_hyper(config: dict[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config; its learning rate is for 256 images."""
    hyper = task_lib.read_hyper(config, HYPER)
    hyper["learning_rate"] *= config["batch_size"] / 256
    return hyper


def create_networks(config: dict[str, Any], num_classes: int) -> Networks:
    """The networks of a checked config."""
    across = dict(cross_replica_axis=DATA if config["cross_replica_batch_norm"] else None)
    network = dict(config["network"])
    if "bn_decay_rate" in network:
        network |= across
    output_size = config["projector"]["output_size"]
    predictor = None
    if config["objective"]["use_predictor"]:
        predictor = nets.create_mlp(
            **config["predictor"], output_size=output_size, name="predictor", **across)
    return Networks(
        encoder=nets.create(**network, num_classes=None),
        projector=nets.create_mlp(**config["projector"], name="projector", **across),
        predictor=predictor,
        probe=hk.transform_with_state(
            lambda x, is_training: hk.Linear(num_classes, name="classifier")(x)),
    )


def encoder_of(state: State) -> tuple[hk.Params, hk.State]:
    """The parameters and the state of the online encoder."""
    return state.params["encoder"], state.network_state["encoder"]
