"""What a run has come to, from its last checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from nfnets_jax import tasks
from nfnets_jax.training import loop, mesh
from nfnets_jax.training.checkpoints import Checkpoints


class LastState(NamedTuple):
    """The last checkpoint.

    Attributes:
      step: after how many it was written.
      state: of the task, on the host.
    """

    step: int
    state: Any


def last_state(workdir: Path, config: Mapping[str, Any]) -> LastState:
    """Reads the last checkpoint of a run.

    Args:
      workdir: of the run.
      config: the run's, checked.

    Raises:
      ValueError: if there is none yet.
    """
    experiment = tasks.create(dict(config))
    grid = mesh.make_mesh(devices=jax.local_devices()[:1])
    programs = loop.map_task(experiment.task, grid)
    like = loop.abstract_state(programs, experiment, config["seed"], grid)
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    if not checkpoints.steps():
        raise ValueError("has no checkpoint yet")
    step = checkpoints.steps()[-1]
    state = jax.device_get(checkpoints.restore(step, like).state.task)
    checkpoints.close()
    return LastState(step, state)
