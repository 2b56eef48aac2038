"""Puts batches on the devices ahead of the step that needs them."""

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import jax

from nfnets_jax.data.loading import Batch

_END = object()
# Longest wait, in seconds, for a batch in the making when an iterator is closed.
_PATIENCE = 10.0


class DevicePrefetcher(Iterator[dict[str, jax.Array]]):
    """Iterator over batches on the devices; see `prefetch_to_device`."""

    def __init__(self, iterator: Iterator[Batch], sharding: Any, size: int):
        if size < 1:
            raise ValueError(f"size={size} must be at least 1: the batches held ahead of the step")
        self._queue = queue.SimpleQueue()
        self._slots = threading.Semaphore(size)
        self._stop = threading.Event()
        # The thread must not hold this object, or it would never be collected.
        thread = threading.Thread(
            target=_produce,
            args=(iterator, sharding, self._queue, self._slots, self._stop),
            name="prefetch_to_device",
            daemon=True,
        )
        # Runs once: on close(), on garbage collection or at the interpreter's exit, before JAX
        # is torn down under the thread.
        self._finalizer = weakref.finalize(self, _finish, thread, self._slots, self._stop)
        thread.start()

    def __next__(self) -> dict[str, jax.Array]:
        if not self._finalizer.alive:
            raise StopIteration
        item = self._queue.get()
        self._slots.release()
        if isinstance(item, _Failure):
            self.close()
            raise item.error
        if item is _END:
            self.close()
            raise StopIteration
        return item

    def close(self) -> None:
        """Ends the thread and drops the batches held; the iterator is exhausted afterwards."""
        self._finalizer()
        self._queue = queue.SimpleQueue()


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


def prefetch_to_device(
    iterator: Iterator[Batch], sharding: jax.sharding.Sharding, size: int = 2
) -> DevicePrefetcher:
    """Turns each process's numpy batches into global arrays, in a thread ahead of the consumer.

    Args:
      iterator: of dicts of this process's rows, used by the thread alone from now on. If it has
        a close(), that is called at the end.
      sharding: of every array of the global batch.
      size: number of batches held ready.

    Returns:
      An iterator, in the same order, of dicts of jax.Array with `sharding`; the first dimension
      is that of the global batch. An exception of `iterator` is raised in its place in the
      order. The thread ends with close(), when the iterator is collected, and at exit.

    Raises:
      ValueError: size < 1.
    """
    return DevicePrefetcher(iterator, sharding, size)


def _produce(iterator, sharding, out, slots, stop) -> None:
    try:
        while True:
            slots.acquire()
            if stop.is_set():
                break
            try:
                batch = next(iterator)
            except StopIteration:
                out.put(_END)
                break
            out.put(jax.make_array_from_process_local_data(sharding, batch))
            del batch
    except BaseException as error:  # whatever it is, it belongs to the consumer
        out.put(_Failure(error))
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


def _finish(thread: threading.Thread, slots: threading.Semaphore, stop: threading.Event) -> None:
    stop.set()
    slots.release()
    # The collector may run in the thread itself.
    if thread is not threading.current_thread():
        thread.join(_PATIENCE)
