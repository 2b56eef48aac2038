"""Settings of the whole suite: four virtual devices, and caches of its own."""

import os
import tempfile
from pathlib import Path

# Before JAX starts. The tests of one device use the first. Compiling takes longer here than
# running, so the compiler is asked for less: without its newer emitters of fused loops it takes
# half as long. The programs that tests start run with its defaults.
os.environ["XLA_FLAGS"] = " ".join((
    os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=4",
    "--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1"))
os.environ["JAX_PLATFORMS"] = "cpu"
# Shared by the processes that run the tests and the programs that tests start, so that each is
# compiled once; new for every session, so that nothing stale is read.
if "PYTEST_XDIST_WORKER" not in os.environ:  # the others inherit it
    _CACHE = tempfile.TemporaryDirectory(prefix="nfnets_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(_CACHE.name) / "xla")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    os.environ["TFDS_DATA_DIR"] = str(Path(_CACHE.name) / "data")
