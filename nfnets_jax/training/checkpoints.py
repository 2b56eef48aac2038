"""Checkpoints: atomic, written in the background, the last few and the best kept (Orbax).

Beside the state every checkpoint holds a fingerprint of it, so that a file that was damaged after
it was written is noticed, whatever the damage reads back as.
"""

import functools
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nfnets_jax.training import distributed
from nfnets_jax.training.mesh import REPLICATED, sharding

logger = logging.getLogger(__name__)


class DamagedCheckpointError(RuntimeError):
    """A checkpoint, or every checkpoint of a run, cannot be read."""


class Restored(NamedTuple):
    """A state that was read, and the step it was saved at."""

    state: Any
    step: int


def fingerprint(state: Any, step: int) -> int:
    """A number below 2**32 that changes when any bit of any leaf of the state, or the step, does.

    Every leaf is read as unsigned words, each multiplied by an odd number that depends on its
    place, and all are added modulo 2**32 on the device; the leaves' sums are combined here.
    """
    total = step
    for leaf in jax.device_get([_sum_of_words(leaf) for leaf in jax.tree.leaves(state)]):
        total = (31 * total + int(leaf)) % 2**32
    return total


@jax.jit
def _sum_of_words(leaf: jax.Array) -> jax.Array:
    if leaf.dtype == jnp.bool_:
        leaf = leaf.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * min(4, leaf.dtype.itemsize)}")
    words = bits.astype(jnp.uint32).reshape(-1)
    weights = 2 * jax.lax.iota(jnp.uint32, words.size) + 1
    return jnp.sum(words * weights, dtype=jnp.uint32)


class Checkpoints:
    """The checkpoints of one run, in `directory/STEP/`.

    Args:
      directory: created if needed (unless read only).
      keep: how many of the latest to keep, beside the best.
      best_metric: the evaluation metric that the best one is chosen by.
      best_is_smallest: whether smaller values of it are better.
      read_only: only reads; safe beside a run that is still writing.
    """

    def __init__(self, directory: str | os.PathLike, *, keep: int = 2,
                 best_metric: str = "accuracy", best_is_smallest: bool = False,
                 read_only: bool = False):
        self.directory = Path(directory).absolute()
        self._best_metric = best_metric
        self._sign = -1.0 if best_is_smallest else 1.0
        self._keep = keep
        self._reader = ocp.StandardCheckpointer()
        self._manager = None
        if not read_only:
            self._open_manager()

    def _open_manager(self) -> None:
        if jax.process_index() == 0:
            # Orbax reads all of them when it starts, and would stop at one that was damaged.
            for step in self.steps():
                folder = self._folder(step) / "metrics"
                if folder.exists() and self._score(step) is None:
                    logger.warning("The metrics of the checkpoint of step %d are damaged; it is "
                                   "kept without them.", step)
                    self._put_aside(folder, f"{step:08d}.metrics")
        distributed.wait_for_all("metrics of the checkpoints checked")

        def get_score(metrics):
            return self._sign * metrics[self._best_metric]

        self._manager = ocp.CheckpointManager(self.directory, options=ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy([
                preservation_policy.LatestN(self._keep),
                preservation_policy.BestN(n=1, get_metric_fn=get_score,
                                          keep_checkpoints_without_metrics=False),
            ]),
            best_fn=get_score,
            step_format_fixed_length=8,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        ))

    def _folder(self, step: int) -> Path:
        return self.directory / f"{step:08d}"

    def _score(self, step: int) -> float | None:
        """How good the evaluation of a checkpoint is, more is better; None if it has none."""
        try:
            content = (self._folder(step) / "metrics" / "metrics").read_bytes()
            return self._sign * float(json.loads(content)[self._best_metric])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def steps(self) -> list[int]:
        """The steps that have a finished checkpoint, in ascending order."""
        if not self.directory.exists():
            return []
        # One that is being written bears another name until it is whole.
        return sorted(int(p.name) for p in self.directory.iterdir() if p.name.isdecimal())

    def best_step(self) -> int | None:
        """The step of the best evaluation among the checkpoints there are; the last of equals."""
        scores = {step: self._score(step) for step in self.steps()}
        evaluated = [step for step, score in scores.items() if score is not None]
        return max(evaluated, key=lambda step: (scores[step], step), default=None)

    def save(self, step: int, state: Any, metrics: dict[str, float] | None = None) -> None:
        """Begins to save; the state may be donated as soon as this returns.

        Raises:
          OSError: if this or the previous save could not be written; says what to do.
        """
        content = {"state": state, "fingerprint": np.uint32(fingerprint(state, step))}
        try:
            self._manager.save(step, args=ocp.args.StandardSave(content), metrics=metrics,
                               force=True)
        except Exception as error:
            self._raise_if_full(error)
            raise

    def wait(self) -> None:
        """Returns when every save has been written.

        Raises:
          OSError: as `save`.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._raise_if_full(error)
            raise

    def close(self) -> None:
        """Waits for the saves that are under way and frees the threads."""
        self._reader.close()
        if self._manager is not None:
            self._manager.close()

    def restore_latest(self, like: Any) -> Restored | None:
        """Reads the newest checkpoint that is whole, or returns None if there is none at all.

        Damaged ones are reported and, once a whole one was found, put aside in `damaged/`, so
        that the run can write their steps again. All processes choose the same one.

        Args:
          like: tree of `jax.ShapeDtypeStruct` with shardings: shape and placement of the state.

        Raises:
          DamagedCheckpointError: if there are checkpoints and none can be read. All are left
            where they are.
        """
        steps = distributed.from_first_process(self.steps())
        reasons = {}
        for step in reversed(steps):
            try:
                restored = self.restore(step, like)
                reason = None
            except Exception as error:  # whatever a damaged file makes the reader raise
                reason = _first_line(error)
            if not distributed.all_agree(reason is None):
                reasons[step] = reason or "another process could not read it"
                logger.warning("The checkpoint of step %d is damaged (%s); trying the one before.",
                               step, reasons[step])
                continue
            if reasons:
                self._manager.close()
                if jax.process_index() == 0:
                    for damaged in reasons:
                        self._put_aside(self._folder(damaged), f"{damaged:08d}")
                distributed.wait_for_all("damaged checkpoints put aside")
                self._open_manager()
            return restored
        if reasons:
            raise DamagedCheckpointError(
                f"none of the checkpoints in {self.directory} can be read ("
                + "; ".join(f"step {step}: {reason}" for step, reason in reasons.items())
                + "). They are damaged, or were written by another version of this library or of "
                "Orbax. Choose another --workdir to start afresh")
        return None

    def restore(self, step: int, like: Any) -> Restored:
        """Reads the checkpoint of one step.

        Raises:
          DamagedCheckpointError: if what is read is not what was written.
          Exception: what Orbax raises for a file that is missing or cannot be parsed.
        """
        _silence_late_readers()
        placement = jax.tree.leaves(like)[0].sharding
        if isinstance(placement, jax.sharding.NamedSharding):  # it may be that of a vector
            placement = sharding(placement.mesh, REPLICATED)
        spec = jax.ShapeDtypeStruct((), jnp.uint32, sharding=placement)
        content = self._reader.restore(
            self._folder(step) / "default", {"state": like, "fingerprint": spec})
        if fingerprint(content["state"], step) != int(content["fingerprint"]):
            raise DamagedCheckpointError("its fingerprint does not match its data")
        return Restored(content["state"], step)

    def _put_aside(self, source: Path, name: str) -> None:
        target = self.directory.parent / "damaged" / name
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(source, target)

    def _raise_if_full(self, error: Exception) -> None:
        reason = _first_line(error)
        if not isinstance(error, OSError) and "space" not in reason:
            return  # not the disk's fault
        free = shutil.disk_usage(self.directory).free / 2**20
        steps = self.steps()
        raise OSError(
            f"a checkpoint could not be written to {self.directory} ({reason}); {free:.0f} MiB are "
            f"free there. Free some space and run the same command again: it continues from "
            f"{f'step {steps[-1]}' if steps else 'the start'}.") from error


def _silence_late_readers() -> None:
    """Keeps hundreds of lines about a closed event loop from hiding the one that matters.

    When one array of a checkpoint cannot be read, Orbax closes the loop that the threads reading
    the others still report to, and each of them prints a traceback.
    """
    for hook in ("excepthook", "unraisablehook"):
        current = getattr(sys, hook)
        if getattr(current, "func", None) is not _unless_loop_is_closed:
            setattr(sys, hook, functools.partial(_unless_loop_is_closed, current))


def _unless_loop_is_closed(hook, *arguments) -> None:
    error = arguments[1] if len(arguments) == 3 else arguments[0].exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        hook(*arguments)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else repr(error)
