"""The Ray back end of sweeps: workers on the machines of a cluster, replaced when they are lost.

Workers divide a sweep among themselves by the leases in its folder. Ray only starts them, each as a
task that runs `python -m nfnets_jax.sweep ... --backend=local` in a process of its own, and says
which were lost. Every machine needs the folder of the sweep, the current folder and the library
under the paths that they have here, and the cluster's token (`ray get-auth-token`); environment
variables are those with which Ray was started there.

A worker saves and stops when its task is cancelled and, on Linux, when Ray's process for the task
is killed; elsewhere it is killed with it. The program that starts the sweep waits for the workers;
if it is killed, so are they.
"""

import collections
import contextlib
import ctypes
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nfnets_jax import command_line

# Workers that may be lost while no run gets finished; then the fault is not the machines'.
MAX_LOST = 10
# Of a worker's log, in the message about it.
LAST_LINES = 15
# From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


def run(arguments: Sequence[str], directory: Path, plan, *, address: str | None, num_workers: int,
        cpus_per_worker: float, gpus_per_worker: int) -> int | None:
    """Runs a sweep on a Ray cluster; `directory / "logs"` holds what the workers print.

    Args:
      arguments: of the program, which the workers are started with.
      directory: of the sweep.
      plan: the sweep, a `plan.Plan`.
      address: of a cluster; None for that of $RAY_ADDRESS or, without it, one of this machine only.
      num_workers: at a time.
      cpus_per_worker: that Ray sets aside; JAX divides the CPU into as many devices.
      gpus_per_worker: that Ray sets aside, and lets the worker see.

    Returns:
      None if all cells have run, otherwise the program's exit status.
    """
    ray = _import_ray()
    from nfnets_jax.sweeps import worker
    from nfnets_jax.training.preemption import StopRequest

    directory = directory.absolute()  # Ray's processes have current folders of their own
    worker.open_sweep(directory, plan)
    (directory / "logs").mkdir(exist_ok=True)
    command = [f"--cpu_devices={max(1, int(cpus_per_worker))}", *arguments, "--backend=local"]
    with _connect(ray, address, num_workers, cpus_per_worker, gpus_per_worker):
        task = ray.remote(num_cpus=cpus_per_worker, num_gpus=gpus_per_worker, max_retries=0,
                          scheduling_strategy="SPREAD")(_work)
        with StopRequest() as stop:  # after Ray has set handlers of its own
            return _supervise(ray, lambda log: task.remote(command, os.getcwd(), log),
                              directory, num_workers, stop)


def _import_ray() -> ModuleType:
    # Ray reads these when it is imported. A machine that is busy takes longer than Ray expects; and
    # a token that is there is shown to a cluster only in this mode, and to one that asks for none
    # does no harm.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    if ("RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
            or Path("~/.ray/auth_token").expanduser().exists()):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        command_line.fail("--backend=ray needs the extra 'ray': pip install 'nfnets_jax[ray]'")
    return ray


@contextlib.contextmanager
def _connect(ray: ModuleType, address: str | None, num_workers: int, cpus: float, gpus: int
             ) -> Iterator[None]:
    """Connects to a cluster, or starts one that ends with the block."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        if address == "local":
            # A socket's path is limited to 107 characters, whatever $TMPDIR is.
            temporary = stack.enter_context(tempfile.TemporaryDirectory(
                prefix="ray_", dir="/tmp", ignore_cleanup_errors=True))
            options = {"num_cpus": math.ceil(num_workers * cpus), "include_dashboard": False,
                       "object_store_memory": 100 * 2**20, "_temp_dir": temporary}
        try:
            host, _, port = address.rpartition(":")
            if port.isdecimal() and "://" not in host:  # Ray tries for a quarter of an hour
                socket.create_connection((host, int(port)), timeout=20).close()
            ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            command_line.fail(f"--ray_address={address}: {error}")
        stack.callback(ray.shutdown)
        if not any(node["Alive"] and node["Resources"].get("CPU", 0) >= cpus
                   and node["Resources"].get("GPU", 0) >= gpus for node in ray.nodes()):
            command_line.fail(
                f"--cpus_per_worker={cpus:g} --gpus_per_worker={gpus}: no machine of the Ray "
                "cluster has so many")
        yield


def _supervise(ray: ModuleType, start: Callable[[str], Any], directory: Path, num_workers: int,
               stop) -> int | None:
    """Keeps workers at work until one finds nothing left to do; the rest as for `run`."""
    table = _TableWatch(directory)
    running: dict[Any, int] = {}  # tasks, and the numbers of their workers
    started = lost = 0
    finished = cancelled = False
    status, message = None, ""

    def log(number: int) -> Path:
        return directory / "logs" / f"worker_{number}.log"

    while started < num_workers:
        started += 1
        running[start(str(log(started)))] = started
    while running:
        ended, _ = ray.wait(list(running), timeout=1.0)
        if table.update():
            lost = 0
        for task in ended:
            number = running.pop(task)
            code, reason = _result(ray, task)
            if code in (0, 1) and not table.missing:
                finished = True
            elif finished or cancelled or stop.signal:
                continue
            elif code == 2:
                status, message = 2, _last_error(log(number))
            elif lost == MAX_LOST:
                status, message = 1, (
                    f"error: {lost + 1} workers were lost while no run was finished, the last "
                    f"with {reason}; {log(number)} ends with\n" + _last_lines(log(number)))
            else:
                lost, started = lost + 1, started + 1
                running[start(str(log(started)))] = started
                print(f"worker {number} was lost ({reason}; {log(number)}); worker {started} "
                      "takes its place", flush=True)
        if (stop.signal or status) and not cancelled:
            cancelled = True
            for task in running:
                ray.cancel(task)
    if status:
        print(message, file=sys.stderr, flush=True)
    elif not finished:
        print(f"stopped by {stop.signal.name}; the same command continues", flush=True)
        status = 130 if stop.signal == signal.SIGINT else 0
    return status


def _work(arguments: Sequence[str], folder: str, log: str) -> int:
    """A task: runs a worker in `folder`, its output in the file `log`; returns its exit status."""
    command = [sys.executable, "-m", "nfnets_jax.sweep", *arguments]
    # What a script starts in the background ignores SIGINT, and so does what is started from there;
    # cancelling the task would have no effect.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def end_with_parent():
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    with open(log, "a") as stream:
        stream.write(f"{socket.gethostname()}: {shlex.join(command)}\n")
        stream.flush()
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            # Ray kills what is left of a task's process group, and so leaves no time for saving.
            start_new_session=libc is not None, preexec_fn=end_with_parent)
    try:
        while process.poll() is None:
            time.sleep(0.1)  # does not block for long: Ray's interrupt is seen between two calls
    except KeyboardInterrupt:  # the task was cancelled
        process.terminate()
        process.wait()
    return process.returncode


def _result(ray: ModuleType, task: Any) -> tuple[int | None, str]:
    """The exit status of a worker, None if Ray lost it, and how it ended, in words."""
    try:
        status = ray.get(task)
    except ray.exceptions.RayError as error:
        last_line = str(error).strip().rpartition("\n")[2]
        return None, f"{type(error).__name__}: {last_line}"
    return status, signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _last_lines(log: Path) -> str:
    """The end of a log; empty if the worker never began one."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def _last_error(log: Path) -> str:
    """What a worker said about the mistake that ended it."""
    before, marker, error = _last_lines(log).rpartition("error: ")
    return marker + error if marker else before


class _TableWatch:
    """Follows the table of a sweep, and prints a line whenever it has grown.

    Attributes:
      missing: cells without a row.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._seen: list[tuple[int, int]] = []
        self.missing = 0
        self.update()
        self._started, self._first = time.perf_counter(), self.missing

    def update(self) -> bool:
        """Reads the table if it has changed; returns whether it has more rows."""
        from nfnets_jax.sweeps import table

        stats = [(self._directory / name).stat() for name in ("table.jsonl", "sweep.json")]
        seen = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        if seen == self._seen:
            return False
        is_first, has_grown = not self._seen, bool(self._seen) and seen[0][0] > self._seen[0][0]
        self._seen = seen
        counts = collections.Counter(row["status"] for row in table.load(self._directory).rows)
        total, self.missing = counts.total(), counts.pop("missing", 0)
        if is_first:
            print(f"{total} runs; {counts.total()} are done, {self.missing} to go", flush=True)
        elif has_grown:
            counted = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
            elapsed, new = time.perf_counter() - self._started, self._first - self.missing
            left = elapsed / new * self.missing if new > 0 else 0
            print(f"{total - self.missing}/{total} runs: {counted}"
                  + (f"  {left:.0f} s left" if left else ""), flush=True)
        return has_grown
