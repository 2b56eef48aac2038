"""The Hessian's smallest eigenvalue along full-batch training, all of it in float64.

The loop and the sweeps train in float32, in which an eigenvalue near 0 drowns. Here the task's own
step is made with parameters in float64, and nothing else is changed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import curvature
from nfnets_jax.training import loop
from nfnets_jax.training.mesh import REPLICATED, make_mesh, map_over_devices


class Track(NamedTuple):
    """What a run went through, each [checkpoints + 1], the start first.

    Attributes:
      lambda_min: smallest Ritz value, not below the smallest eigenvalue.
      lambda_max: the largest.
      gradient_norm: of the mean loss.
      loss: the same.
    """

    lambda_min: np.ndarray
    lambda_max: np.ndarray
    gradient_norm: np.ndarray
    loss: np.ndarray


def follow(config: config_dict.ConfigDict, run: Mapping[str, Any], num_products: int) -> Track:
    """Trains a full-batch config and looks at the Hessian at each of its evaluations.

    Args:
      config: an autoencoder's, whose evaluate_every divides num_steps.
      run: fields that differ from it.
      num_products: of Lanczos.
    """
    with jax.enable_x64(True):
        config = config.copy_and_resolve_references()
        config.update_from_flattened_dict(run)
        checked = config_lib.check_config(config, 1)
        experiment = tasks.create(checked)
        objective, functions = experiment.objective, loop.run_functions(experiment.task)
        examples = objective.examples(None)
        batches = curvature.split(examples, len(examples["image"]))

        def look(state):
            params = objective.params(state.task)

            def losses(params, batch):
                return objective.losses(params, state.task, batch, True)

            ritz = curvature.lanczos(
                lambda vector: curvature.hessian_product(losses, params, batches, vector), params,
                jax.random.key(0), num_products)
            loss, gradient = curvature.gradient(losses, params, batches)
            norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient)))
            return Track(ritz.values[0], ritz.values[-1], norm, loss)

        def look_and_advance(state, _):
            after, _ = jax.lax.scan(lambda state, _: (functions.step(state, examples)[0], None),
                                    state, length=checked["evaluate_every"])
            return after, look(state)

        def train(seed, hyper):
            start = jax.tree.map(
                lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
                functions.init(seed, hyper))
            return jax.lax.scan(look_and_advance, start, length=(
                1 + checked["num_steps"] // checked["evaluate_every"]))[1]

        program = map_over_devices(
            train, make_mesh(devices=jax.devices()[:1]), (REPLICATED, REPLICATED), REPLICATED)
        hyper = {name: jnp.float64(value) for name, value in experiment.hyper.items()}
        return jax.tree.map(np.asarray, program(np.uint32(checked["seed"]), hyper))
