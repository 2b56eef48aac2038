"""The network of a classification config."""

from collections.abc import Mapping
from typing import Any

import haiku as hk

from nfnets_jax import data, nets


def create_network(config: Mapping[str, Any], **changes: Any) -> hk.TransformedWithState:
    """The network of a checked config, with one logit for each class of the data set.

    With `scalar_logit` two classes have the logits [0, z], where z is the network's one output.

    Args:
      config: checked.
      **changes: of the network's arguments.
    """
    arguments = {**config["network"], **changes}
    if config["scalar_logit"]:
        return nets.with_two_logits(nets.create(**arguments, num_classes=1))
    num_classes = data.info(config["dataset"]["name"]).num_classes
    return nets.create(**arguments, num_classes=num_classes)
