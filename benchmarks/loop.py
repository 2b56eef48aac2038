"""What the training loop costs: speed, memory and start, beside the bare compiled step.

    python -m benchmarks.loop [--json] [--only=digits,jpeg64,memory,start]

`*_fraction` is images/s through `nfnets_jax.training.loop.train` over images/s of the same
compiled step applied again and again to one batch that stays on the device. Data, dispatch,
metrics, logging and checkpoints count as the loop's time; evaluation does not.
README.md has the last table and says how to read it.
"""

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from unittest import mock

import jax
import numpy as np
from absl import logging

from benchmarks import settings, timing
from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.data import catalog
from nfnets_jax.training import compilation, loop, mesh, preemption

PARTS = ("digits", "jpeg64", "memory", "start")
# Steps of one measurement, a multiple of `log_every`.
PERIOD = {"digits": 100, "jpeg64": 10}


class BareStep:
    """The compiled step of an experiment, with a state and one batch of its own."""

    def __init__(self, experiment, config):
        info, size = catalog.info(config["dataset"]["name"]), config["dataset"]["image_size"]
        self.examples = config["batch_size"]
        rng = np.random.default_rng(0)
        batch = {
            "image": rng.integers(256, size=(self.examples, size, size, info.channels),
                                  dtype=np.uint8),
            "label": rng.integers(info.num_classes, size=self.examples, dtype=np.int32),
            "index": np.arange(self.examples, dtype=np.uint32),
        }
        devices = mesh.make_mesh()
        programs = loop.map_task(experiment.task, devices)
        hyper = {key: np.float32(value) for key, value in experiment.hyper.items()}
        self._state = programs.init(np.uint32(config["seed"]), hyper)
        self._batch = jax.device_put(batch, mesh.sharding(devices, mesh.SHARDED))
        self._step = compilation.compile_ahead(programs.step, self._state, self._batch).call

    def rate(self, steps: int) -> float:
        """Images/s of a chain of steps."""
        start = time.perf_counter()
        for _ in range(steps):
            self._state, _ = self._step(self._state, self._batch)
        jax.block_until_ready(self._state)
        return steps * self.examples / (time.perf_counter() - start)

    def save_seconds(self) -> float:
        """Seconds to save the state and wait for the file, after a first time that compiles."""
        with tempfile.TemporaryDirectory() as path:
            checkpoints = loop.Checkpoints(path)
            for step in range(2):
                start = time.perf_counter()
                checkpoints.save(step, self._state)
                checkpoints.wait()
            checkpoints.close()
            return time.perf_counter() - start


class Alternation(loop.MetricsWriter):
    """Stands in for the loop's writer, and lets the bare step run while the loop is in it.

    The loop writes when the devices have finished all steps, and after an evaluation, so wall
    time between these two moments is that of the steps and of all that goes with them.
    """

    def __init__(self, path, resume_step, *, bare: BareStep, period: int):
        super().__init__(path, resume_step)
        self._bare, self._period = bare, period
        self._started = None
        self.loop_rates, self.bare_rates = [], []

    def write(self, step, kind, values):
        """Writes the record; ends and begins a measurement every `period` steps."""
        if kind != "train":  # an evaluation is over
            self._started = time.perf_counter()
            super().write(step, kind, values)
            return
        super().write(step, kind, values)
        if step % self._period:
            return
        if self._started is not None:  # not the first period, which compiles
            seconds = time.perf_counter() - self._started
            self.loop_rates.append(self._period * self._bare.examples / seconds)
        self.bare_rates.append(self._bare.rate(self._period))
        self._started = time.perf_counter()


def create(name: str, data_dir: str, num_steps: int):
    """The checked config and the experiment of a setting."""
    config = settings.CONFIGS[name](num_steps)
    config.dataset.data_dir = data_dir
    config = config_lib.check_config(config, jax.device_count())
    return config, tasks.create(config)


def train(experiment, config) -> None:
    """Runs the whole loop in a new working directory; its messages go to stderr."""
    with (tempfile.TemporaryDirectory() as path, contextlib.redirect_stdout(sys.stderr),
          preemption.StopRequest() as stop):
        loop.train(experiment, config, path, mesh.make_mesh(), stop)


def measure_fraction(name: str, data_dir: str, rounds: int) -> dict:
    """Rows of the speed of the loop beside that of the bare step."""
    config, experiment = create(name, data_dir, (rounds + 1) * PERIOD[name])
    bare, writers = BareStep(experiment, config), []

    def make_writer(*arguments):
        writers.append(Alternation(*arguments, bare=bare, period=PERIOD[name]))
        return writers[0]

    with mock.patch.object(loop, "MetricsWriter", make_writer):
        train(experiment._replace(figures={}), config)
    ratios = timing.paired_ratios(writers[0].loop_rates, writers[0].bare_rates)
    fraction = statistics.mean(ratios)
    if config["checkpoint_every"] > experiment.total_steps:  # none was due: add the share of one
        share = bare.save_seconds() / config["checkpoint_every"] / bare.examples
        fraction = 1 / (1 / fraction + share * timing.median(writers[0].bare_rates))
    batches = experiment.train_batches(0)
    next(batches)
    start = time.perf_counter()
    for _ in range(20):
        next(batches)
    loader = 20 * bare.examples / (time.perf_counter() - start)
    return {
        f"{name}_fraction": (
            fraction, f"loop / bare step, wanted >= 0.95; {timing.spread(ratios)}"),
        f"{name}_loop_rate": (timing.median(writers[0].loop_rates), "images/s, wall clock"),
        f"{name}_bare_rate": (timing.median(writers[0].bare_rates), "images/s"),
        f"{name}_loader_rate": (loader, "images/s of the data alone"),
    }


def print_peak_memory(what: str, name: str, data_dir: str) -> None:
    """Runs a few steps in the loop or bare; prints the peak memory of this process in MiB."""
    steps = PERIOD[name] + 2
    config, experiment = create(name, data_dir, steps)
    if what == "loop":
        train(experiment, config)
    else:
        BareStep(experiment, config).rate(steps)
    print(timing.peak_memory())


def measure_memory(name: str, data_dir: str) -> dict:
    """The row of the peak memory of the loop over that of the bare step.

    The first run only fills the compilation cache: the compiler's own peak differs by a quarter
    from run to run.
    """
    with tempfile.TemporaryDirectory() as cache:
        _, loop_peak, bare_peak = (
            float(timing.run_python("-m", "benchmarks.loop", "--peak_memory_of", what, name,
                                    data_dir, JAX_COMPILATION_CACHE_DIR=cache))
            for what in ("loop", "loop", "bare"))
    return {f"memory_ratio_{name}": (
        loop_peak / bare_peak, f"wanted < 1.2; {loop_peak:.0f} MiB / {bare_peak:.0f} MiB")}


def time_start(data_dir: str, cache: str) -> tuple[float, float]:
    """Seconds from launching the digits program to its first finished step, and of compiling."""
    with tempfile.TemporaryDirectory() as path:
        command = [sys.executable, "-m", "nfnets_jax.train",
                   "--config=experiments/digits/nf_resnet.py", f"--workdir={path}/run",
                   f"--config.dataset.data_dir={data_dir}", "--config.log_every=1"]
        start, compiling = time.perf_counter(), None
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                              env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}) as program:
            for line in program.stdout:
                if found := re.match(r"training step .* in ([\d.]+) s", line):
                    compiling = float(found[1])
                elif line.startswith("step 1/"):
                    seconds = time.perf_counter() - start
                    program.kill()
                    return seconds, compiling
    raise RuntimeError("the training program ended before its first step; its message is above")


def measure_start(data_dir: str, repeats: int) -> dict:
    """Rows of the start with an empty and with a filled compilation cache."""
    cold, cached = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(time_start(data_dir, cache))
            cached.append(time_start(data_dir, cache))
    rows = {}
    for number, what in enumerate(("start", "compile")):
        values = [timing.median([times[number] for times in kind]) for kind in (cold, cached)]
        remark = "to the first finished step" if what == "start" else "of it compiling the step"
        rows[f"{what}_seconds_cold"] = (values[0], f"{remark}, compilation cache empty")
        rows[f"{what}_seconds_cached"] = (
            values[1], f"{remark}, cache filled: {values[0] - values[1]:.1f} s saved")
    return rows


def main() -> None:
    """Runs the parts asked for; the flags are in the text above."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loop", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--peak_memory_of", nargs=3, help=argparse.SUPPRESS,
                        metavar=("loop|bare", "SETTING", "DATA_DIR"))
    logging.set_verbosity(logging.ERROR)  # as the programs do
    flags = parser.parse_args()
    parts = flags.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only={flags.only}: no part {', '.join(unknown)}; there are {PARTS}")

    with tempfile.TemporaryDirectory(prefix="nfnets_jax_benchmark_") as folder:
        if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
            os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(folder, "xla")
        compilation.enable_compilation_cache()
        if flags.peak_memory_of:
            print_peak_memory(*flags.peak_memory_of)
            return
        data_dir, rows = os.path.join(folder, "data"), {}
        if {"jpeg64", "memory"} & set(parts):
            settings.write_jpegs(data_dir)
        if "digits" in parts:
            rows |= measure_fraction("digits", data_dir, rounds=14)
        if "jpeg64" in parts:
            rows |= measure_fraction("jpeg64", data_dir, rounds=5)
        if "memory" in parts:
            rows |= measure_memory("digits", data_dir) | measure_memory("jpeg64", data_dir)
        if "start" in parts:
            rows |= measure_start(data_dir, repeats=2)
        timing.report("The training loop beside the bare step", rows, flags.json)


if __name__ == "__main__":
    main()
