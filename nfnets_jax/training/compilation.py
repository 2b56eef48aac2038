"""Compiling a step ahead of time, and keeping what was compiled for the next start."""

import ctypes
import gc
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import monitoring


class Compiled(NamedTuple):
    """A compiled function and what it cost.

    Attributes:
      call: the executable.
      seconds: tracing, lowering and compiling, or loading from the cache.
      seconds_saved: what compiling took when the cache entry was made, less the loading; None if
        it was compiled now.
    """

    call: Callable
    seconds: float
    seconds_saved: float | None

    def describe(self) -> str:
        """One phrase for the log."""
        if self.seconds_saved is None:
            return f"compiled in {self.seconds:.1f} s"
        return (f"loaded from the compilation cache in {self.seconds:.1f} s, "
                f"{self.seconds_saved:.1f} s saved")


def enable_compilation_cache() -> str:
    """Turns JAX's persistent compilation cache on, for every program however small.

    Returns:
      Its directory: `$JAX_COMPILATION_CACHE_DIR`, or `nfnets_jax/xla` in the user's cache folder.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.join(
        caches, "nfnets_jax", "xla")
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return directory


def forget_compiled() -> None:
    """Drops every compiled program that nothing holds, and gives its memory back to the system.

    The compiler leaves free memory scattered over the heap, which glibc keeps unless told not to:
    170 to 390 MiB after the first figure of a run.
    """
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def compile_ahead(function: Callable, *arguments) -> Compiled:
    """Compiles a jitted function for arguments of these shapes and placements, without running it.

    Args:
      function: made by `jax.jit`.
      *arguments: arrays, or `jax.ShapeDtypeStruct`s with shardings.
    """
    saved = []

    def listen(event: str, duration: float, **_):
        if event == "/jax/compilation_cache/compile_time_saved_sec":
            saved.append(duration)

    monitoring.register_event_duration_secs_listener(listen)
    start = time.perf_counter()
    try:
        call = function.lower(*arguments).compile()
    finally:
        monitoring.unregister_event_duration_listener(listen)
    return Compiled(call, time.perf_counter() - start, sum(saved) if saved else None)
