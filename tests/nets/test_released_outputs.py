"""Logits equal to those of the authors' released code on the same parameters.

The numbers were computed with the released `nf_resnet.py`, `nf_regnet.py` and `nfnet.py`
(deepmind-research/nfnets, Haiku 0.0.17, JAX 0.10.2, CPU) on the parameters and images made below.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets

SIZE, NUM_CLASSES = 65, 10  # odd, so that each stride rounds up

RELEASED = {
    "nf_resnet50": [
        -1.495366, 0.4129592, 0.012817, 0.0782171, 0.06904756,
        0.1567015, -1.462368, -0.8612391, 0.340063, -0.4557781,
    ],
    "nf_regnet_b0": [
        -0.04580566, -0.2475424, 0.2481109, 0.4301627, 0.1892549,
        -0.5232839, -0.1870472, 0.1574306, -0.2690068, -0.1828012,
    ],
    "nf_regnet_b1": [
        0.06581976, 0.1817959, -0.03050402, -0.2915502, -0.1501707,
        0.201921, -0.02806573, -0.06440951, -0.03540381, -0.2857511,
    ],
    "nfnet_f0": [
        -0.1825745, 0.07270452, -0.09646, -0.01744727, -0.2787796,
        -0.1344991, 0.1189747, 0.070342, -0.3955429, 0.0615727,
    ],
}


def parameters(shapes):
    """Random parameters in which every gain and bias counts, in the order of their names."""
    rng = np.random.default_rng(0)
    params = {}
    for module, name, leaf in sorted(hk.data_structures.traverse(shapes), key=lambda x: x[:2]):
        values = rng.standard_normal(leaf.shape)
        if name in ("gain", "skip_gain"):
            values = 1 + 0.1 * values
        elif name in ("bias", "b"):
            values = 0.1 * values
        else:
            values = values / np.sqrt(np.prod(leaf.shape[:-1]))
        params.setdefault(module, {})[name] = np.asarray(values, np.float32)
    return params


def images():
    return np.random.default_rng(1).standard_normal((1, SIZE, SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("name", RELEASED)
def test_logits_are_those_of_the_released_code(name):
    network = nets.create(name, NUM_CLASSES)
    shapes, _ = jax.eval_shape(
        lambda key: network.init(key, jnp.zeros((1, SIZE, SIZE, 3)), False), jax.random.key(0))
    logits = jax.jit(lambda params, images: network.apply(params, {}, None, images, False))(
        parameters(shapes), images())[0]["logits"][0]
    expected = np.array(RELEASED[name])
    assert np.abs(logits - expected).max() <= 2e-4 * expected.std()
