"""Leases: which worker is at which chunk, so that no cell is run twice.

A lease is a file that its holder keeps locked and touches from time to time. It is over when the
holder gives it back, when the holder's process ends (seen at once by workers on the same machine),
or when it was not touched for `seconds` (seen by all).
"""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path


class Lease:
    """A lease that this worker holds; see `acquire`."""

    def __init__(self, path: Path, seconds: float):
        self._path = path
        self._file = path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._content = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}\n"
        self._file.write(self._content)
        self._file.flush()
        self._stop = threading.Event()
        threading.Thread(target=self._touch, args=(seconds / 4,), daemon=True).start()

    def _touch(self, interval: float) -> None:
        while not self._stop.wait(interval):
            with contextlib.suppress(OSError, ValueError):  # it may be closed by now
                os.utime(self._file.fileno())

    def is_held(self) -> bool:
        """Whether no other worker has taken it over."""
        try:
            return self._path.read_text() == self._content
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Gives it back; to be called under `exclusive`, as `acquire` is."""
        self._stop.set()
        if self.is_held():
            self._path.unlink()
        self._file.close()


def acquire(path: Path, seconds: float) -> Lease | None:
    """Takes the lease of a file, or returns None if another worker holds it.

    To be called by one worker at a time; see `exclusive`.

    Args:
      path: of the file; its folder exists.
      seconds: after which a lease that was not touched is over; the same for all workers.
    """
    if is_live(path, seconds):
        return None
    path.unlink(missing_ok=True)  # a worker that comes back sees that this is another file
    return Lease(path, seconds)


def is_live(path: Path, seconds: float) -> bool:
    """Whether a worker holds the lease of a file."""
    try:
        with path.open("r+") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > seconds:
                return False
            if file.readline().split(" ")[0] != socket.gethostname():
                return True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False  # its holder has ended
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lets one worker at a time into the block; the others wait."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
