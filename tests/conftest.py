"""Settings of the whole suite: four virtual devices, and caches of its own."""

import os
import tempfile
from pathlib import Path

# Before JAX starts. The tests of one device use the first. Compiling takes longer here than
# running, so the compiler is asked for less: without its newer emitters of fused loops it takes
# half as long. The programs whose bits are compared run with its defaults.
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

# A file is run by one process. Those that take longest come first, so that none is left to one
# process at the end.
_LONGEST = (
    "training/test_interruption.py", "nets/test_sizes.py", "tasks/test_byol.py",
    "sweeps/test_sweep.py", "sweeps/test_ray_backend.py", "training/test_population.py",
    "tasks/test_linear_evaluation.py", "tasks/test_classification.py", "nets/test_conv.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.partition("::")[0].endswith(_LONGEST))
