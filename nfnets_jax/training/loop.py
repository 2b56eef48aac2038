"""The training loop. It runs any experiment, and it is the only one there is.

    restore the latest checkpoint, or initialise
    for each step:  state, metrics = step(state, batch)
    now and then:   log, analyse, evaluate, save
    at the end:     analyse, evaluate, save, draw

Everything random is a function of the seed and the step, batches included, so a run that was
interrupted at any moment and continued ends with the same bits as one that was not.
"""

import collections
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nfnets_jax.analysis import diagnostics as diagnostics_lib
from nfnets_jax.data import prefetch_to_device
from nfnets_jax.reports import curves
from nfnets_jax.reports import findings as findings_lib
from nfnets_jax.tasks.task import Experiment, Measurement, Task
from nfnets_jax.training import workdir as workdir_lib
from nfnets_jax.training.checkpoints import Checkpoints
from nfnets_jax.training.compilation import compile_ahead, forget_compiled
from nfnets_jax.training.mesh import (
    REPLICATED,
    SHARDED,
    map_over_devices,
    must_block_each_step,
    sharding,
)
from nfnets_jax.training.metrics import MetricsWriter, NoWriter, mean_of
from nfnets_jax.training.preemption import StopRequest
from nfnets_jax.training.progress import ProgressDisplay


class NonFiniteLossError(RuntimeError):
    """The loss or the gradient of a step is not finite."""


class RunState(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      seed: uint32 scalar.
      step: int32 scalar, how many steps have been made.
      task: the task's own state.
    """

    seed: jax.Array
    step: jax.Array
    task: Any


class Programs(NamedTuple):
    """A task, mapped over the devices of a mesh.

    Attributes:
      init: `(seed, hyper) -> RunState`.
      step: `(RunState, batch) -> (RunState, metrics)`; the state is donated.
      evaluate: `(RunState, batch) -> sums`.
    """

    init: Callable
    step: Callable
    evaluate: Callable


class Result(NamedTuple):
    """How a run ended.

    Attributes:
      step: steps made.
      metrics: of the last evaluation; empty if the run was stopped before one.
      stopped_by: the name of the signal that ended it early, or None.
      conclusion: what the task says of the finished run, or None.
    """

    step: int
    metrics: dict[str, float]
    stopped_by: str | None
    conclusion: str | None = None


def run_functions(task: Task) -> Programs:
    """The three functions of a run on one device; not compiled."""

    def init(seed, hyper):
        key, _ = jax.random.split(jax.random.key(seed))
        return RunState(seed, jnp.zeros((), jnp.int32), task.init(key, hyper))

    def step(state, batch):
        _, key = jax.random.split(jax.random.key(state.seed))
        new_state, metrics = task.step(state.task, batch, jax.random.fold_in(key, state.step))
        return RunState(state.seed, state.step + 1, new_state), metrics

    def evaluate(state, batch):
        return task.evaluate(state.task, batch)

    return Programs(init, step, evaluate)


def map_task(task: Task, mesh: Mesh) -> Programs:
    """Makes the three programs of a task for the devices of a mesh."""
    run = run_functions(task)
    return Programs(
        init=map_over_devices(run.init, mesh, REPLICATED, REPLICATED),
        step=map_over_devices(
            run.step, mesh, (REPLICATED, SHARDED), REPLICATED, donate_argnums=(0,)),
        evaluate=map_over_devices(run.evaluate, mesh, (REPLICATED, SHARDED), REPLICATED),
    )


def abstract_state(programs: Programs, experiment: Experiment, seed: int, mesh: Mesh) -> RunState:
    """Shapes, dtypes and placement of the state, without computing it."""
    placement = sharding(mesh, REPLICATED)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement),
        jax.eval_shape(programs.init, *_init_arguments(experiment, seed)))


def initialize(programs: Programs, experiment: Experiment, seed: int) -> RunState:
    """The state that a run with this seed begins with."""
    return programs.init(*_init_arguments(experiment, seed))


def _init_arguments(experiment: Experiment, seed: int):
    return np.uint32(seed), {k: np.asarray(v, np.float32) for k, v in experiment.hyper.items()}


class InFlight:
    """Keeps the host at most a few steps ahead of the devices.

    Without a limit the host would queue steps, and their batches in device memory, as fast as it
    can read them. Waiting for a step before the last one leaves no gap on the device.
    """

    def __init__(self, mesh: Mesh):
        self._limit = 0 if must_block_each_step(mesh) else 2
        self._queue = collections.deque()

    def add(self, result: Any) -> None:
        """Notes the output of a dispatched step; waits for the one that is now too old."""
        self._queue.append(result)
        if len(self._queue) > self._limit:
            jax.block_until_ready(self._queue.popleft())


def evaluate(programs: Programs, state: RunState, batches: Iterable, mesh: Mesh) -> dict:
    """Evaluates a state on all batches; every example counts exactly once.

    Args:
      programs: from `map_task`.
      state: on the devices.
      batches: host batches of this process, padded and masked.
      mesh: of the programs.

    Returns:
      The mean of every metric over the examples, and `count`, how many there were.
    """
    sums, in_flight = [], InFlight(mesh)
    for batch in prefetch_to_device(iter(batches), sharding(mesh, SHARDED)):
        sums.append(programs.evaluate(state, batch))
        in_flight.add(sums[-1])
    sums = jax.device_get(sums)
    totals = {key: sum(float(s[key]) for s in sums) for key in sums[0]}
    count = totals.pop("count")
    return {**{key: value / count for key, value in totals.items()}, "count": int(count)}


def evaluate_split(programs: Programs, experiment: Experiment, state: RunState, split: str,
                   mesh: Mesh) -> Measurement:
    """Evaluates a state on a split: the means of all batches, and what the task measures beside."""
    values = evaluate(programs, state, experiment.evaluation_batches(split), mesh)
    if experiment.measure is None:
        return Measurement(values)
    more = experiment.measure(state.task, values, split, mesh)
    return Measurement({**values, **more.metrics}, more.remark)


def train(experiment: Experiment, config: dict, workdir: str | os.PathLike, mesh: Mesh,
          stop: StopRequest) -> Result:
    """Runs an experiment to its end, from wherever the working directory says it is.

    Args:
      experiment: what to run.
      config: checked; the loop reads seed, log_every, evaluate_every, checkpoint_every,
        keep_checkpoints and analysis.
      workdir: opened with `workdir.open_workdir`; written by process 0.
      mesh: the devices of all processes.
      stop: tells when the run has been asked to stop.

    Raises:
      NonFiniteLossError: with the step, the learning rate and the last good checkpoint.
      WorkdirError: if the checkpoints would not fit.
      OSError: if a checkpoint cannot be written.
    """
    workdir = Path(workdir)
    is_writer = jax.process_index() == 0
    programs = map_task(experiment.task, mesh)
    like = abstract_state(programs, experiment, config["seed"], mesh)
    if is_writer:
        size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(like))
        workdir_lib.check_space(workdir, size, config["keep_checkpoints"])
        workdir_lib.write_config(workdir, config)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=config["keep_checkpoints"],
                              best_metric=experiment.best_metric,
                              best_is_smallest=experiment.best_is_smallest)
    diagnostics = diagnostics_lib.create(experiment, config, mesh)
    restored = checkpoints.restore_latest(like)
    start = restored.step if restored else 0
    writer = MetricsWriter(workdir, start) if is_writer else NoWriter()
    total = experiment.total_steps
    with ProgressDisplay(total, start, experiment.examples_per_step, is_writer) as progress:
        pending = []
        metrics: dict[str, float] = {}

        def analyse(step, state):
            progress.note(f"analysing step {step}: {', '.join(diagnostics.measures)}")
            findings = diagnostics.measure(state.task, config["seed"], step)
            _check_finite(findings.values, f"the analysis after step {step}", step, checkpoints)
            writer.write(step, "analysis", findings.values)
            progress.note("  ".join(
                f"{name} {value:.4g}" for name, value in findings.values.items()))
            if is_writer:
                findings_lib.save(findings, workdir / "analysis", step)

        if restored:
            progress.note(f"continuing from the checkpoint of step {start}")
            state = restored.state
        else:
            progress.note("initialising")
            state = initialize(programs, experiment, config["seed"])
            if experiment.prepare is not None:
                state = state._replace(task=jax.device_put(
                    experiment.prepare(jax.device_get(state.task)), sharding(mesh, REPLICATED)))
            _draw(experiment, state, workdir, "initial", progress)
            if diagnostics is not None:
                analyse(0, state)

        def log(step):
            values = jax.device_get(pending)
            progress.stop_clock()
            if values:
                for number, one in enumerate(values, step - len(values) + 1):
                    _check_finite(one, f"step {number}", number - 1, checkpoints)
                means, rate = mean_of(values), progress.rate()
                writer.write(step, "train", {**means, "examples_per_second": rate})
                progress.show(step, means, rate)
                pending.clear()

        def evaluate_and_save(step):
            split = experiment.evaluation_split
            values, remark = evaluate_split(programs, experiment, state, split, mesh)
            _check_finite(values, f"the evaluation after step {step}", step, checkpoints)
            writer.write(step, split, values)
            progress.note(f"step {step}/{total}  {split}: " + "  ".join(
                f"{name} {value:.4g}" for name, value in values.items() if name != "count")
                + f"  ({values['count']} examples)")
            if remark:
                progress.note(remark)
            checkpoints.save(step, state, values)
            return values

        batches = prefetch_to_device(experiment.train_batches(start), sharding(mesh, SHARDED))
        in_flight = InFlight(mesh)
        train_step = programs.step
        for step in range(start + 1, total + 1):
            batch = next(batches)
            if step == start + 1:
                progress.note("compiling")
                compiled = compile_ahead(programs.step, state, batch)
                progress.note(f"training step {compiled.describe()}")
                train_step = compiled.call
                progress.start_clock()
            state, step_metrics = train_step(state, batch)
            pending.append(step_metrics)
            in_flight.add(step_metrics)
            progress.advance()

            stopping = stop.reached(step)
            evaluating = step == total or _is_due(step, config["evaluate_every"])
            analysing = diagnostics is not None and diagnostics.is_due(step, total)
            saving = stopping or evaluating or _is_due(step, config["checkpoint_every"])
            if saving or analysing or _is_due(step, config["log_every"]):
                log(step)
                if analysing:
                    analyse(step, state)
                if evaluating:
                    metrics = evaluate_and_save(step)
                elif saving:
                    checkpoints.save(step, state)
                progress.start_clock()
            if stopping:
                break
        batches.close()
        checkpoints.wait()
        step = int(state.step)
        if stop.signal and step < total:
            progress.note(f"stopped by {stop.signal.name} after step {step}; saved")
            writer.close()
            checkpoints.close()
            return Result(step, metrics, stop.signal.name)

        if not metrics:  # the run was complete already
            metrics, _ = evaluate_split(
                programs, experiment, state, experiment.evaluation_split, mesh)
        checkpoints.close()
        conclusion = None
        if experiment.conclude is not None:
            split, (values, conclusion) = experiment.conclude(lambda split: evaluate(
                programs, state, experiment.evaluation_batches(split), mesh))
            writer.write(step, split, values)
        writer.close()
        _draw(experiment, state, workdir, "final", progress)
        if is_writer:
            plot = experiment.plot_curves or curves.plot
            plot(workdir / "metrics.jsonl", workdir / "figures" / "curves.png")
        return Result(step, metrics, None, conclusion)


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


def _check_finite(values: dict, where: str, params_step: int, checkpoints: Checkpoints) -> None:
    """Raises a NonFiniteLossError if the values are not finite.

    Args:
      values: of one step or one evaluation.
      where: which, in words.
      params_step: the step after which the parameters were what the loss was computed from.
      checkpoints: of the run.
    """
    for name in ("loss", "gradient_norm", "min_cosine", "gradient_square"):
        if name not in values or np.isfinite(values[name]):
            continue
        checkpoints.wait()
        # Parameters whose loss is not finite are no good, even if a checkpoint holds them.
        good = [s for s in checkpoints.steps() if s < params_step + (name != "loss")]
        rate = (f" at learning rate {float(values['learning_rate']):.4g}"
                if "learning_rate" in values else "")
        raise NonFiniteLossError(
            f"{name}={float(values[name])} in {where}{rate}; the last good checkpoint is "
            f"{f'that of step {good[-1]}' if good else 'none'}. Lower optimizer.learning_rate or "
            "lengthen schedule.warmup_epochs, in a new --workdir")


def _draw(experiment: Experiment, state: RunState, workdir: Path, when: str,
          progress: ProgressDisplay) -> None:
    if jax.process_index() != 0:
        return
    for name, draw in experiment.figures.items():
        path = workdir / "figures" / f"{name}_{when}.png"
        if draw(jax.device_get(state.task), str(path)) is not None:
            progress.note(f"drew {path}")
    forget_compiled()  # figures are computed operation by operation, each a program of its own
