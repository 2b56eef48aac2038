"""The kinds of residual block that the study compares, as fields of `config.network`.

    bn                  batch norm on the branch and before the classifier
    skipinit_inverse    SkipInit whose scalars start as 1 / sqrt(d), d being the number of blocks
    skipinit            SkipInit whose scalars start as 0
    skipinit_one        they start as 1: a control, the network without norms at initialization
    sqrt2               shortcut and branch are added and divided by sqrt(2): a control too
    plain               no norm, no scalar
    fixup               FixUp
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nfnets_jax import nets

NAME, GAIN = "network.name", "network.skip_gain_init"

METHODS = {
    "bn": "BN",
    "skipinit_inverse": "SkipInit, 1/sqrt(d)",
    "skipinit": "SkipInit, 0",
    "skipinit_one": "SkipInit, 1",
    "sqrt2": "sum / sqrt(2)",
    "plain": "no norm",
    "fixup": "FixUp",
}


def rows(methods: Iterable[str], kind: str, num_blocks: int) -> list[dict[str, Any]]:
    """The fields of each method, for `sweeps.product`.

    Args:
      methods: keys of `METHODS`.
      kind: what follows the block in a network's name, such as 'mlp' or 'wrn_16_2'.
      num_blocks: of the network, d.
    """
    gains = {"skipinit_inverse": num_blocks**-0.5, "skipinit": 0.0, "skipinit_one": 1.0}
    return [{NAME: f"{method.split('_')[0]}_{kind}", GAIN: gains.get(method)}
            for method in methods]


def network_of(base: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """`config.network` of a run: that of the sweep's base config with the run's own fields."""
    own = {path.removeprefix("network."): value for path, value in fields.items()
           if path.startswith("network.")}
    return {**base["network"], **own}


def count_blocks(network: Mapping[str, Any]) -> int:
    """The number of residual blocks d of a network's name and fields."""
    arguments = nets.defaults(network["name"])
    return network.get("num_blocks") or arguments.get("num_blocks") or sum(arguments["depths"])


def identify(network: Mapping[str, Any]) -> str:
    """The key of `METHODS` that a network's name and fields are an instance of.

    Raises:
      ValueError: if a SkipInit network's scalars start as something else.
    """
    block = network["name"].split("_")[0]
    gain = network.get("skip_gain_init") or 0.0
    if block != "skipinit" or gain == 0.0:
        return block
    if gain == 1.0:
        return "skipinit_one"
    if abs(gain - count_blocks(network) ** -0.5) < 1e-6:
        return "skipinit_inverse"
    raise ValueError(f"skip_gain_init={gain}: use 0, 1 or {count_blocks(network)}^(-1/2)")
