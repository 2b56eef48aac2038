"""Encoders out of other runs and out of files of published weights."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np

from nfnets_jax.config import ConfigError


class Encoder(NamedTuple):
    """A trained network without its classifier: parameters and state, as numpy arrays."""

    params: hk.Params
    network_state: hk.State


def preparation(
    config: Mapping[str, Any],
    replace: Callable[[Any, hk.Params, hk.State], Any],
) -> Callable[[Any], Any] | None:
    """The `Experiment.prepare` that puts a config's pretrained encoder into a new state.

    Args:
      config: checked, with the fields `pretrained` and `network`.
      replace: `(state, params, network_state) -> state` of the task.

    Returns:
      The function, which raises a ConfigError if there is no such encoder or it does not fit; None
      where the config names none.
    """
    source = config["pretrained"]
    if not (source["workdir"] or source["weights"]):
        return None

    def prepare(state):
        encoder = load_encoder(config)
        new = replace(state, *encoder)
        old_shapes, new_shapes = (
            {jax.tree_util.keystr(path): np.shape(x)
             for path, x in jax.tree_util.tree_leaves_with_path(tree)} for tree in (state, new))
        for name in sorted(set(old_shapes) | set(new_shapes)):
            if old_shapes.get(name) != new_shapes.get(name):
                raise ConfigError(
                    f"network.name={config['network']['name']!r}: does not fit the pretrained "
                    f"encoder: {name} is {old_shapes.get(name, 'absent')} in the network and "
                    f"{new_shapes.get(name, 'absent')} in the encoder")
        return new

    return prepare


def load_encoder(config: Mapping[str, Any]) -> Encoder:
    """Reads the encoder that a config's `pretrained` names.

    Raises:
      ConfigError: if there is no such run, checkpoint or file; says which there are.
    """
    source = config["pretrained"]
    if source["weights"]:
        return _from_file(source["weights"], dict(config["network"]))
    return _from_run(source["workdir"], source["checkpoint"])


def _from_file(path: str, network: dict[str, Any]) -> Encoder:
    from nfnets_jax import weights
    from nfnets_jax.nets import architectures

    name = network.pop("name")
    try:
        if architectures.find(name).block == "bn_v1":
            params, state = weights.load_byol(path, name, **network)
            return Encoder(params["encoder"], state["encoder"])
        return Encoder(*map(without_classifier, weights.load(path, network=name, **network)))
    except (ValueError, OSError) as error:
        raise ConfigError(f"pretrained.weights={path!r}: {error}") from None


def _from_run(workdir: str, checkpoint: str) -> Encoder:
    from nfnets_jax import config as config_lib
    from nfnets_jax import tasks
    from nfnets_jax.training import loop, mesh
    from nfnets_jax.training import workdir as workdir_lib
    from nfnets_jax.training.checkpoints import Checkpoints

    where = f"pretrained.workdir={workdir!r}"
    try:
        directory = workdir_lib.expand(workdir)
        config = config_lib.check_config(workdir_lib.read_config(directory), device_count=1)
    except workdir_lib.WorkdirError as error:
        raise ConfigError(f"{where}: {error}") from None
    task = tasks.get(config["task"])
    if not hasattr(task, "encoder_of"):
        raise ConfigError(f"{where}: its task {config['task']!r} trains no encoder")
    experiment = tasks.create(config)
    grid = mesh.make_mesh(devices=jax.local_devices()[:1])
    programs = loop.map_task(experiment.task, grid)
    like = loop.abstract_state(programs, experiment, config["seed"], grid)
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True,
                              best_metric=experiment.best_metric)
    steps = checkpoints.steps()
    chosen = {"latest": max(steps, default=None), "best": checkpoints.best_step()}.get(
        checkpoint, int(checkpoint) if checkpoint.isdecimal() else None)
    if chosen not in steps:
        raise ConfigError(
            f"pretrained.checkpoint={checkpoint!r}: {directory} has "
            + (f"latest, best, {', '.join(map(str, steps))}" if steps else "no checkpoint yet"))
    state = jax.device_get(checkpoints.restore(chosen, like).state.task)
    checkpoints.close()
    return Encoder(*map(without_classifier, task.encoder_of(state)))


def without_classifier(modules: Mapping[str, Any]) -> dict[str, Any]:
    """The modules of a network but for the one named `classifier`."""
    return {name: values for name, values in modules.items()
            if name.split("/")[-1] != "classifier"}
