"""The working directory of a run: is it writable, does it belong to this config, who writes it.

    config.json      the checked config, every field
    metrics.jsonl    one line for each record        tensorboard/   the same as event files
    checkpoints/     one folder for each step kept   damaged/       those that could not be read
    figures/         pictures, drawn at the start and at the end
    analysis/        what was measured with `analysis.measures`: arrays and pictures of each step
"""

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfnets_jax import config as config_lib


class WorkdirError(RuntimeError):
    """A working directory that cannot be used. The message is for the person who named it."""


def open_workdir(path: str | os.PathLike, config: Mapping[str, Any]) -> int:
    """Makes sure that this config can be run in the directory.

    Args:
      path: created if it is not there.
      config: checked (`config.check_config`); `write_config` keeps it.

    Returns:
      A file descriptor that holds the lock of the directory until it is closed or the process
      ends.

    Raises:
      WorkdirError: if nothing can be written there, another process is at work there, or it
        holds a run with another config (the message shows the differences).
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(2**16))
        (path / "figures").mkdir(exist_ok=True)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WorkdirError(
            f"--workdir={path}: cannot be written ({error.strerror}); choose another directory or "
            "free some space") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:  # some network file systems have no locks
            os.close(lock)
            raise WorkdirError(f"--workdir={path}: another process is training there") from error

    if (path / "config.json").exists():
        changes = config_lib.difference(
            read_config(path), json.loads(config_lib.to_json(config)))
        if changes:
            os.close(lock)
            raise WorkdirError(
                f"--workdir={path}: holds a run with another config:\n  " + "\n  ".join(changes)
                + "\nchoose another --workdir for the new config, or repeat the old one")
    return lock


def expand(path: str) -> Path:
    """The directory that `--workdir` names.

    Raises:
      WorkdirError: if it is empty, or a URL instead of a mounted folder.
    """
    if not path or "://" in path:
        raise WorkdirError(
            f"--workdir={path}: must be a folder; mount a bucket (gcsfuse, for example) to use it")
    return Path(path).expanduser()


def write_config(path: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Keeps a checked config in its working directory."""
    write_atomically(Path(path) / "config.json", config_lib.to_json(config))


def write_atomically(file: Path, text: str) -> None:
    """Writes a text file that is there whole or not at all, whatever happens meanwhile."""
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """The checked config that a working directory was made with.

    Raises:
      WorkdirError: if there is none, or it cannot be read.
    """
    file = Path(path) / "config.json"
    try:
        config = json.loads(file.read_text())
    except OSError as error:
        raise WorkdirError(
            f"--workdir={path}: holds no run ({file}: {error.strerror})") from error
    except ValueError as error:
        raise WorkdirError(f"--workdir={path}: {file} is not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise WorkdirError(f"--workdir={path}: {file} holds no config, but {config!r}")
    return config


def check_space(path: str | os.PathLike, checkpoint_bytes: int, keep: int) -> None:
    """Refuses to begin a run whose checkpoints would not fit.

    Args:
      path: the working directory.
      checkpoint_bytes: size of the state.
      keep: how many of the latest checkpoints are kept; the best, and the one that is being
        written, come on top.

    Raises:
      WorkdirError: with what is free and what is needed.
    """
    needed = (keep + 2) * checkpoint_bytes + 2**22  # and some room for metrics and figures
    free = shutil.disk_usage(path).free
    if free < needed:
        raise WorkdirError(
            f"--workdir={path}: {free / 2**20:.1f} MiB are free there; {keep} checkpoints, the "
            f"best one and one being written need {needed / 2**20:.1f} MiB. Free some space, "
            "choose another directory, or lower keep_checkpoints")
