"""Starting one of several processes: `jax.distributed`, from flags or from the environment."""

import os
import zlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

# Names that say that this process is one of several; JAX finds its peers from them by itself.
_SEVERAL_PROCESSES = {
    "SLURM_NTASKS": "Slurm",
    "OMPI_COMM_WORLD_SIZE": "Open MPI",
}
_TPU_POD = ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES", "MEGASCALE_COORDINATOR_ADDRESS")


def initialize(coordinator_address: str | None, num_processes: int | None,
               process_id: int | None) -> str:
    """Connects this process to its peers, if it has any; call before anything else of JAX.

    An explicit trio wins; then the environment of Slurm, Open MPI or a TPU pod; otherwise the
    process stays alone.

    Args:
      coordinator_address: host:port of process 0.
      num_processes: of the whole run.
      process_id: of this one, from 0.

    Returns:
      Which of these was chosen, in words.

    Raises:
      ValueError: if the trio is incomplete, or the number of processes is not the one asked for.
    """
    trio = (coordinator_address, num_processes, process_id)
    if any(value is not None for value in trio):
        if any(value is None for value in trio):
            raise ValueError(
                f"--coordinator_address={coordinator_address}, --num_processes={num_processes} and "
                f"--process_id={process_id} go together: give all three or none")
        if not 0 <= process_id < num_processes:
            raise ValueError(f"--process_id={process_id}: must be from 0 to {num_processes - 1}")
        # The default shutdown timeout of 300 s would hide a failed peer for minutes.
        jax.distributed.initialize(coordinator_address, num_processes, process_id,
                                   shutdown_timeout_seconds=30)
        expected, source = num_processes, "flags"
    else:
        expected, source = _expected_from_environment()
        if expected == 1:
            return "one process"
        jax.distributed.initialize(shutdown_timeout_seconds=30)
    if expected is not None and jax.process_count() != expected:
        raise ValueError(
            f"{expected} processes were asked for ({source}), but JAX sees {jax.process_count()}")
    return f"process {jax.process_index()} of {jax.process_count()}, from {source}"


def _expected_from_environment() -> tuple[int | None, str]:
    for name, source in _SEVERAL_PROCESSES.items():
        if int(os.environ.get(name, 1)) > 1:
            return int(os.environ[name]), source
    for name in _TPU_POD:
        if "," in os.environ.get(name, "") or name.startswith("MEGASCALE") and name in os.environ:
            return None, "the TPU pod"
    return 1, ""


def all_agree(value: bool) -> bool:
    """Whether the value is true on every process; a collective call."""
    if jax.process_count() == 1:
        return value
    return bool(np.all(multihost_utils.process_allgather(np.asarray(value))))


def from_first_process(numbers: Sequence[int]) -> list[int]:
    """The list that process 0 has, on every process; a collective call."""
    if jax.process_count() == 1:
        return list(numbers)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(numbers))))
    padded = np.zeros(length, np.int32)
    padded[: len(numbers)] = numbers[:length]
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tolist()


def wait_for_all(what: str) -> None:
    """Returns when every process has come here; `what` names the place in error messages."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def reason_not_to_start(settings: str, error: str | None) -> str | None:
    """Makes all processes stop if one of them cannot start, or was told something else.

    Args:
      settings: has to be equal on all processes.
      error: why this process cannot start, or None.

    Returns:
      The reason, in words, or None if all can start; a collective call.
    """
    if jax.process_count() == 1:
        return error
    mine = np.array([error is not None, zlib.crc32(settings.encode()) >> 1], np.int32)
    failed, digests = np.asarray(multihost_utils.process_allgather(mine)).T
    if error is not None:
        return error
    if failed.any():
        return f"process {int(np.argmax(failed))} cannot start; its own output says why"
    different = np.flatnonzero(digests != digests[0])
    if different.size:
        return (f"process {different[0]} was started with another config than process 0; "
                "give every process the same command")
    return None
