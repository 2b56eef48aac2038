"""Starting the real programs, for tests that interrupt them.

They are forked from a process that has imported what they import, and run from there as
`python -m` runs them: importing takes two seconds, and tests start a hundred programs.
"""

import atexit
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.training import loop, mesh, workdir
from nfnets_jax.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
CONFIG = "tests/tiny_config.py"
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([
    __name__, "nfnets_jax.tasks.classification", "nfnets_jax.sweeps.worker",
    "nfnets_jax.weights", "matplotlib.pyplot", "tensorboardX"])


class Program:
    """The running program `python -m nfnets_jax.NAME ARGUMENTS...`, much as `Popen` has it."""

    def __init__(self, name, arguments, quick=False):
        self._output = tempfile.NamedTemporaryFile()
        self._process = _PROCESSES.Process(target=_execute, args=(
            f"nfnets_jax.{name}", [str(a) for a in arguments], environment(quick),
            self._output.name))
        self._process.start()

    def poll(self):
        """The exit status, minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()

    def finish(self, timeout):
        """Waits for its end, or ends it; returns exit status and output."""
        self._process.join(timeout)
        self.kill()
        self._output.seek(0)
        output = self._output.read().decode()
        if self.poll() is None:
            raise TimeoutError(f"not at its end after {timeout} s: {output}")
        return self.poll(), output


@atexit.register
def _kill_what_failed_tests_left():
    for process in multiprocessing.active_children():
        process.kill()


def _execute(module, arguments, environment, output):
    """What a forked process does: becomes the program."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout.reconfigure(write_through=True)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


def environment(quick=False):
    """One device for each process; caches shared by the session.

    Compiled as users' programs are, or, where no bits are compared, `quick` as the tests are.
    """
    settings = os.environ["XLA_FLAGS"] if quick else ""
    return os.environ | {
        "XLA_FLAGS": f"{settings} --xla_force_host_platform_device_count=1",
        "PYTHONUNBUFFERED": "1"}


def start(directory, *arguments, config=CONFIG, program="train", **options):
    """Starts a program on a working directory; `finish` returns its output."""
    source = [f"--config={config}"] if program == "train" and config else []
    return Program(program, [*source, f"--workdir={directory}", *arguments], **options)


def finish(process, timeout=240):
    """Waits for a program; returns its exit status and output."""
    return process.finish(timeout)


def run(directory, *arguments, **options):
    """Runs a program to its end."""
    return finish(start(directory, *arguments, **options))


def wait_for(condition, process, timeout=180):
    """Polls until the condition holds or the process has ended."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        if process.poll() is not None:
            return
        time.sleep(0.001)


def free_port():
    """A port on 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def final_state(directory):
    """All leaves of the last checkpoint, by path, as numpy arrays."""
    config = config_lib.check_config(workdir.read_config(directory), 1)
    experiment = tasks.create(config)
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    like = loop.abstract_state(loop.map_task(experiment.task, grid), experiment, 0, grid)
    checkpoints = Checkpoints(Path(directory) / "checkpoints", read_only=True)
    state = checkpoints.restore(checkpoints.steps()[-1], like).state
    return {jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def assert_same_bits(left, right):
    """Fails unless two states are equal bit for bit."""
    assert left.keys() == right.keys()
    for path in left:
        assert left[path].tobytes() == right[path].tobytes(), path
