"""The prefetching thread: order, sharding, exceptions, and that it always ends."""

import gc
import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nfnets_jax import data
from nfnets_jax.training import mesh


def _sharding():
    return mesh.sharding(mesh.make_mesh(), mesh.SHARDED)


def _count(total=None):
    for k in itertools.count() if total is None else range(total):
        yield {"image": np.full((8, 2), k), "label": np.arange(8) + k}


def _threads():
    return [t for t in threading.enumerate() if t.name == "prefetch_to_device"]


def _assert_no_thread():
    deadline = time.monotonic() + 5
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _threads()


def test_batches_arrive_in_order_as_global_arrays():
    batches = list(data.prefetch_to_device(_count(20), _sharding(), size=3))
    assert len(batches) == 20
    for k, batch in enumerate(batches):
        assert batch["image"].sharding == _sharding()
        np.testing.assert_array_equal(batch["image"], np.full((8, 2), k))
        np.testing.assert_array_equal(batch["label"], np.arange(8) + k)
    _assert_no_thread()


@pytest.mark.parametrize("size", [1, 3])
def test_no_more_than_size_batches_are_taken_ahead(size):
    taken = []

    def watched():
        for k, batch in enumerate(_count()):
            taken.append(k)
            yield batch

    iterator = data.prefetch_to_device(watched(), _sharding(), size=size)
    for k in range(4):
        next(iterator)
        time.sleep(0.05)
        assert len(taken) == k + 1 + size
    iterator.close()


def test_an_exception_comes_in_its_place_and_ends_the_iterator():
    def broken():
        yield from _count(3)
        raise RuntimeError("disk on fire")

    iterator = data.prefetch_to_device(broken(), _sharding())
    assert [int(next(iterator)["image"][0, 0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="disk on fire"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    _assert_no_thread()


def test_closing_ends_the_thread_and_closes_the_source():
    closed = []

    def source():
        try:
            yield from _count()
        finally:
            closed.append(True)

    iterator = data.prefetch_to_device(source(), _sharding())
    next(iterator)
    iterator.close()
    iterator.close()
    assert closed == [True] and not _threads()
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_forgotten_iterator_ends_its_thread():
    iterator = data.prefetch_to_device(_count(), _sharding())
    next(iterator)
    del iterator
    gc.collect()
    _assert_no_thread()


def test_an_exception_of_the_consumer_ends_the_thread():
    def consume():
        for batch in data.prefetch_to_device(_count(), _sharding()):
            raise KeyError(int(batch["image"][0, 0]))

    with pytest.raises(KeyError):
        consume()
    gc.collect()
    _assert_no_thread()


@pytest.mark.parametrize(("ending", "code"), [("", 0), ("raise SystemExit(3)", 3)])
def test_the_interpreter_exits_with_an_iterator_still_open(data_dir, ending, code):
    program = f"""
import jax
from nfnets_jax import data
batches = data.train_batches('digits', split='train', image_size=8, batch_size=8, seed=0,
                             data_dir={str(data_dir)!r})
iterator = data.prefetch_to_device(batches, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
next(iterator)
{ending}
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True)
    assert done.returncode == code, done.stderr


def test_size_is_checked():
    with pytest.raises(ValueError, match="size=0"):
        data.prefetch_to_device(_count(), _sharding(), size=0)
