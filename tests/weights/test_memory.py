"""Loading takes at most twice the file's size: each array is read once, into its place."""

import math
import subprocess
import sys

import pytest

from nfnets_jax import weights
from nfnets_jax.weights import naming
from tests.weights import files

MEASURE = """
import resource, sys
import numpy, jax, haiku
from nfnets_jax import nets, weights
weights.preprocessing(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
params, _ = weights.load(sys.argv[1], network=sys.argv[2])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(1024 * (after - before), sum(a.nbytes for m in params.values() for a in m.values()))
"""


@pytest.mark.parametrize("kind", ["pickle", "safetensors", "torch"])
def test_memory_of_loading(tmp_path, kind):
    network = "nf_regnet_b1"  # 40 MB
    params = files.random_params(network)
    path = tmp_path / "w"
    if kind == "pickle":
        path.write_bytes(files.pickled(files.haiku_tree(network, params)))
    elif kind == "safetensors":
        weights.save(path, params, network=network)
    else:
        network = "timm_nf_regnet_b1"
        files.write_torch_zip(path, files.timm_arrays(network, files.random_params(network)))
    output = subprocess.run([sys.executable, "-c", MEASURE, str(path), network], check=True,
                            capture_output=True, text=True).stdout
    extra, total = map(int, output.split())
    size = path.stat().st_size
    assert total == 4 * sum(math.prod(p.shape) for p in naming.parameters(network, 5)) > 30_000_000
    assert extra < 2 * size
