"""A sweep on a real Ray cluster of this machine: workers that are killed, stopped and mistaken."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from nfnets_jax.sweeps import ray_backend
from tests.training import programs

pytest.importorskip("ray")

# 16 runs in two programs, in four populations of about a second.
CONFIG = """
from nfnets_jax import sweeps
from nfnets_jax.config import default_config

def get_config():
    config = default_config("classification")
    config.network.name = "mlp"
    config.dataset.name = "digits"
    config.batch_size = 16
    config.evaluation_batch_size = 512
    config.num_epochs = 10.0
    config.evaluate_every = 20
    config.optimizer.momentum = 0.0
    config.optimizer.nesterov = False
    config.schedule.warmup_epochs = 0.0
    return config

def get_sweep():
    return sweeps.product({"batch_size": (16, 20)}, {"optimizer.learning_rate": (0.01, 0.1)},
                          {"seed": range(4)})
"""
# As one that a script has started in the background, it ignores SIGINT.
CLUSTER = """
import signal
import sys
import ray
signal.signal(signal.SIGINT, signal.SIG_IGN)
context = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False,
                   object_store_memory=100 * 2**20, _temp_dir=sys.argv[1])
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    (folder / "config.py").write_text(CONFIG)
    return folder


def start(files, name, *arguments):
    return programs.start(
        files / name, f"--config={files / 'config.py'}", "--mapping=vmap", "--members=4",
        "--checkpoint_seconds=0.1", *arguments, program="sweep")


@pytest.fixture(scope="module")
def expected(files):
    """The rows of the table of one local worker."""
    status, output = programs.finish(start(files, "local", "--cpu_devices=1"))
    assert status == 0, output
    return read(files / "local/table.jsonl")


@pytest.fixture(scope="module")
def cluster(expected):
    """The address of a cluster with two CPUs."""
    del expected  # made before, so that no two things are started at a time
    with tempfile.TemporaryDirectory(
            dir="/tmp", prefix="ray_", ignore_cleanup_errors=True) as temporary:
        process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER, temporary], cwd=programs.ROOT, text=True,
            env=programs.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate(timeout=60)


def read(file):
    return sorted((json.loads(line) for line in file.read_text().splitlines()),
                  key=lambda row: row["cell"])


def workers_at_work(directory):
    """The process ids of the workers that have saved a population that is not finished."""
    if not any((directory / "partial").glob("*/*")):
        return []
    leases = []
    for lease in (directory / "leases").iterdir():
        with contextlib.suppress(FileNotFoundError):  # given back meanwhile
            leases.append(lease.read_text())
    return [int(lease.split()[1]) for lease in leases if lease.endswith("\n")]


def parent(process_id):
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(process_id)]))


def test_killed_workers_are_replaced_and_the_table_is_that_of_one_worker(files, cluster, expected):
    directory = files / "killed"
    driver = start(files, "killed", "--backend=ray", f"--ray_address={cluster}")
    programs.wait_for(lambda: len(workers_at_work(directory)) == 2, driver)
    first, second = workers_at_work(directory)
    os.kill(parent(second), signal.SIGKILL)  # Ray's process; the worker is told to save
    os.kill(first, signal.SIGKILL)
    status, output = programs.finish(driver)

    assert status == 0, output
    assert "(SIGKILL;" in output and "(WorkerCrashedError:" in output
    assert "worker 4" in output and "worker 5" not in output
    assert read(directory / "table.jsonl") == expected
    chunks = [json.loads(line) for line in (directory / "chunks.jsonl").open()]
    assert sum(chunk["cells"] for chunk in chunks) == len(expected) == 16
    logs = [(directory / f"logs/worker_{n}.log").read_text() for n in (1, 2, 3, 4)]
    assert sum("stopped by SIGTERM" in log for log in logs) == 1
    assert output.splitlines()[-2].startswith("16 done; the table is")
    assert not any((directory / "leases").iterdir())


def test_stopping_the_sweep_saves_and_the_same_command_continues(files, cluster, expected):
    directory = files / "stopped"
    driver = start(files, "stopped", "--backend=ray", f"--ray_address={cluster}")
    programs.wait_for(lambda: len(workers_at_work(directory)) == 2, driver)
    ids = workers_at_work(directory)
    driver.send_signal(signal.SIGINT)
    status, output = programs.finish(driver)
    assert status == 130, output
    assert output.splitlines()[-1] == "stopped by SIGINT; the same command continues"
    assert len(read(directory / "table.jsonl")) < 16
    assert not any(os.path.exists(f"/proc/{process_id}") for process_id in ids)

    status, output = programs.finish(start(files, "stopped", "--cpu_devices=1"))
    assert status == 0, output
    assert read(directory / "table.jsonl") == expected


def test_a_mistake_that_only_a_worker_sees_ends_the_sweep_on_a_cluster_of_its_own(files):
    status, output = programs.finish(start(
        files, "mistake", "--backend=ray", "--devices_per_member=2"))
    assert status == 2
    assert output.splitlines()[-1] == (
        "error: --devices_per_member=2: does not divide the 1 devices")
    assert "takes its place" not in output


def test_an_address_where_nothing_is_ends_at_once(files):
    port = programs.free_port()
    status, output = programs.finish(start(
        files, "nowhere", "--backend=ray", f"--ray_address=127.0.0.1:{port}"))
    assert status == 2
    assert re.fullmatch(rf"error: --ray_address=127\.0\.0\.1:{port}: .*refused",
                        output.splitlines()[-1])


def test_workers_that_end_without_finishing_a_run_are_not_replaced_for_ever(tmp_path, capsys):
    (tmp_path / "sweep.json").write_text('{"varied": [], "base": {}, "cells": [{"cell": "a"}]}')
    (tmp_path / "table.jsonl").touch()
    (tmp_path / "logs").mkdir()
    logs, cancelled, codes = [], [], [0, 1, -15, 137]

    def start(log):
        logs.append(log)
        Path(log).write_text(f"the end of {log}\n")
        return len(logs)

    ray = SimpleNamespace(
        wait=lambda tasks, timeout: (tasks[:1], tasks[1:]), cancel=cancelled.append,
        get=lambda task: codes[task % 4], exceptions=SimpleNamespace(RayError=OSError))
    status = ray_backend._supervise(ray, start, tmp_path, 3, SimpleNamespace(signal=None))
    assert status == 1
    assert len(logs) == 3 + ray_backend.MAX_LOST
    assert cancelled == [12, 13]
    printed = capsys.readouterr()
    assert "worker 3 was lost (exit status 137;" in printed.out
    assert printed.err.startswith(
        "error: 11 workers were lost while no run was finished, the last with exit status 137; ")
    assert printed.err.endswith(f"ends with\nthe end of {logs[10]}\n")


def test_a_cluster_without_ray_is_answered_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as end:
        ray_backend.run([], tmp_path / "sweep", None, address=None, num_workers=1,
                        cpus_per_worker=1.0, gpus_per_worker=0)
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "error: --backend=ray needs the extra 'ray': pip install 'nfnets_jax[ray]'\n")
    assert not (tmp_path / "sweep").exists()
