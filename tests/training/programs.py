"""Starting the real programs, for tests that interrupt them."""

import os
import socket
import subprocess
import sys
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


def command(directory, *arguments, config=CONFIG, program="train"):
    """The command line of a program on a working directory."""
    source = [f"--config={config}"] if program == "train" and config else []
    return [sys.executable, "-m", f"nfnets_jax.{program}", *source, f"--workdir={directory}",
            *map(str, arguments)]


def environment(devices=1):
    """One device for each process unless asked otherwise; caches shared by the session."""
    return os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                         "PYTHONUNBUFFERED": "1"}


def start(directory, *arguments, devices=1, **options):
    """Starts a program; its output is collected by `communicate`."""
    return subprocess.Popen(
        command(directory, *arguments, **options), cwd=ROOT, env=environment(devices), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process, timeout=240):
    """Waits for a program; returns its exit status and output."""
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, output


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
