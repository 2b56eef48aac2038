"""The figure of a classification run: its network's signal propagation plot."""

from collections.abc import Callable, Iterator
from typing import Any

import haiku as hk
import jax
import numpy as np

from nfnets_jax import nets
from nfnets_jax.analysis import signal_propagation
from nfnets_jax.reports import signal_propagation as signal_propagation_report
from nfnets_jax.tasks.classification_network import create_network


def figure(
    config: dict[str, Any],
    preprocess: Callable[[jax.Array], jax.Array],
    train_batches: Callable[[int], Iterator],
) -> Callable[[Any, str], dict[str, np.ndarray] | None]:
    """Returns the function `(state, path) -> measurements` that draws a state of a run.

    It draws nothing and returns None for a network whose signals are not marked to be measured.
    """

    def draw(state, path: str) -> dict[str, np.ndarray] | None:
        if not nets.is_tagged(config["network"]["name"]):
            return None
        images = preprocess(next(train_batches(0))["image"][:num_measured_images(config)])
        return draw_signal_propagation(config, state.params, state.network_state, images, path,
                                       step=int(state.step))

    return draw


def num_measured_images(config: dict[str, Any]) -> int:
    """Enough images for the statistics of a channel, few enough for a laptop at 224 pixels."""
    return max(4, min(256, 2**18 // config["dataset"]["image_size"] ** 2))


def draw_signal_propagation(
    config: dict[str, Any], params: hk.Params, network_state: hk.State, images: jax.Array,
    path: str, *, step: int = 0,
) -> dict[str, np.ndarray]:
    """Draws the signal propagation plot of a config's network.

    At initialisation (`step=0`) every `skip_gain` is 0 and the network would show nothing but its
    shortcuts; as in the paper the gains are set to 1 there, and the analytic prediction is drawn.
    Later the trained gains are left in place.

    Args:
      config: checked.
      params, network_state: of the config's network.
      images: float32 [N, H, W, C], normalised.
      path: of the picture.
      step: that the parameters were taken at.

    Returns:
      What was measured (`analysis.signal_propagation.measure`).
    """
    name = config["network"]["name"]
    # Nothing can be measured inside of loops.
    changes = {loop: False for loop in ("scan_blocks", "remat_blocks") if loop in config["network"]}
    if config["network"].get("norm") == "ghost_batch":
        changes["norm"] = "batch"  # these images need not be a whole number of groups
    network = create_network(config, **changes)
    expected, when = None, f"after {step} steps"
    if step == 0:
        params = signal_propagation.with_unit_skip_gain(params)
        expected = nets.expected_variance(**config["network"])
        when = "at initialisation, skip gains 1"
    measured = signal_propagation.measure(network, params, network_state, images)
    signal_propagation_report.plot(measured, expected, path, f"{name}, {when}")
    return measured
