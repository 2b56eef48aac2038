"""Checkpoints: atomic, written in the background, the last few and the best kept (Orbax).

Beside the state every checkpoint holds a fingerprint of it, so that a file that was damaged after
it was written is noticed, whatever the damage reads back as.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

logger = logging.getLogger(__name__)


class DamagedCheckpointError(RuntimeError):
    """No checkpoint of a run can be read."""


class Restored(NamedTuple):
    """A state that was read, and the step it was saved at."""

    state: Any
    step: int


def fingerprint(state: Any) -> jax.Array:
    """A uint32 that changes when any bit of any leaf of the state changes.

    Every leaf is read as unsigned words, each multiplied by an odd number that depends on its
    place, and all are added modulo 2**32; runs on the device.
    """
    total = jnp.zeros((), jnp.uint32)
    for number, leaf in enumerate(jax.tree.leaves(state)):
        if leaf.dtype == jnp.bool_:
            leaf = leaf.astype(jnp.uint8)
        bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * min(4, leaf.dtype.itemsize)}")
        words = bits.astype(jnp.uint32).reshape(-1)
        weights = 2 * jax.lax.iota(jnp.uint32, words.size) + jnp.uint32(2 * number + 1)
        total = total * jnp.uint32(31) + jnp.sum(words * weights, dtype=jnp.uint32)
    return total


_fingerprint = jax.jit(fingerprint)


class Checkpoints:
    """The checkpoints of one run, in `directory/STEP/`.

    Args:
      directory: created if needed (unless read only).
      keep: how many of the latest to keep, beside the best.
      best_metric: the evaluation metric, larger is better, that the best one is chosen by.
      read_only: never writes or cleans up; safe beside a run that is still writing.
    """

    def __init__(self, directory: str | os.PathLike, *, keep: int = 2,
                 best_metric: str = "accuracy", read_only: bool = False):
        self.directory = Path(directory).absolute()
        self._read_only = read_only
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy([
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(
                    n=1, get_metric_fn=lambda metrics: metrics[best_metric],
                    keep_checkpoints_without_metrics=False),
            ]),
            best_fn=lambda metrics: metrics[best_metric],
            step_format_fixed_length=8,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        self._manager = ocp.CheckpointManager(self.directory, options=self._options)

    def steps(self) -> list[int]:
        """The steps that have a finished checkpoint, in ascending order."""
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step of the best evaluation among the checkpoints there are."""
        return self._manager.best_step()

    def save(self, step: int, state: Any, metrics: dict[str, float] | None = None) -> None:
        """Begins to save; the state may be donated as soon as this returns.

        Raises:
          OSError: if this or the previous save could not be written; says what to do.
        """
        content = {"state": state, "fingerprint": _fingerprint(state)}
        try:
            self._manager.save(step, args=ocp.args.StandardSave(content), metrics=metrics,
                               force=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._cannot_write(error) from error

    def wait(self) -> None:
        """Returns when every save has been written."""
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Waits for the saves that are under way and frees the threads."""
        self._manager.close()

    def restore_latest(self, like: Any) -> Restored | None:
        """Reads the newest checkpoint that is whole, or returns None if there is none at all.

        Damaged ones are reported and put aside, in `damaged/`, so that the run can write their
        steps again.

        Args:
          like: tree of `jax.ShapeDtypeStruct` with shardings: shape and placement of the state.

        Raises:
          DamagedCheckpointError: if there are checkpoints and none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.restore(step, like)
            except Exception as error:  # whatever a damaged file makes the reader raise
                reason = str(error).strip().splitlines()[0][:200] if str(error) else repr(error)
                logger.warning("The checkpoint of step %d is damaged (%s); trying the one before.",
                               step, reason)
                if not self._read_only:
                    self._put_aside(step)
        if steps:
            raise DamagedCheckpointError(
                f"none of the checkpoints in {self.directory} can be read (steps "
                f"{', '.join(map(str, steps))}); choose another --workdir to start afresh")
        return None

    def restore(self, step: int, like: Any) -> Restored:
        """Reads the checkpoint of one step.

        Raises:
          DamagedCheckpointError: if what is read is not what was written.
          Exception: what Orbax raises for a file that is missing or cannot be parsed.
        """
        spec = jax.ShapeDtypeStruct((), jnp.uint32, sharding=jax.tree.leaves(like)[0].sharding)
        content = self._manager.restore(
            step, args=ocp.args.StandardRestore({"state": like, "fingerprint": spec}))
        if int(_fingerprint(content["state"])) != int(content["fingerprint"]):
            raise DamagedCheckpointError(f"the fingerprint of step {step} does not match its data")
        return Restored(content["state"], step)

    def _put_aside(self, step: int) -> None:
        self._manager.close()
        if jax.process_index() == 0:
            target = self.directory.parent / "damaged"
            target.mkdir(exist_ok=True)
            shutil.rmtree(target / f"{step:08d}", ignore_errors=True)
            os.replace(self.directory / f"{step:08d}", target / f"{step:08d}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint {step} put aside")
        self._manager = ocp.CheckpointManager(self.directory, options=self._options)

    def _cannot_write(self, error: Exception) -> OSError:
        free = shutil.disk_usage(self.directory).free / 2**20
        reason = str(error).strip().splitlines()[0][:300] if str(error) else repr(error)
        last = self.steps()
        return OSError(
            f"a checkpoint could not be written to {self.directory} ({reason}); {free:.0f} MiB are "
            f"free there. Free some space and run the same command again: it continues from "
            f"{'step ' + str(last[-1]) if last else 'the start'}.")
