"""Running the simulations of norms without the training loop."""

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.training import loop


def config_of(task, **changes):
    config = config_lib.default_config(task)
    config.update(changes)
    return config_lib.check_config(config, 4)


def ends(task, name, values, **changes):
    """Runs for each value of a traced scalar: states with a leading axis, and evaluations."""
    experiment = tasks.create(config_of(task, **changes))
    functions = loop.run_functions(experiment.task)

    def run(value):
        state = functions.init(3, {**experiment.hyper, name: value})
        state, _ = jax.lax.scan(lambda state, _: functions.step(state, ()), state,
                                length=experiment.total_steps)
        return state.task, functions.evaluate(state, ())

    state, found = jax.jit(jax.vmap(run))(jnp.asarray(values, jnp.float32))
    return jax.device_get(state), {name: np.asarray(x, float) for name, x in found.items()}
