"""The quantized weights of a run: exported as bits, with a table of what they take."""

from pathlib import Path

from nfnets_jax import config as config_lib
from nfnets_jax.analysis import bits
from nfnets_jax.reports.last_state import last_state
from nfnets_jax.tasks import classification, quantization
from nfnets_jax.training import workdir as workdir_lib


def export(workdir: Path, path: Path) -> str:
    """Writes the network of a run's last checkpoint with `analysis.bits.save`.

    Args:
      workdir: of the run.
      path: of the file.

    Returns:
      The table of `analysis.bits.format_layers`, after a line that says which step it is of.

    Raises:
      ValueError: if the run has no quantized weights, or no checkpoint yet.
      WorkdirError: if there is no run.
    """
    config = config_lib.check_config(workdir_lib.read_config(workdir), device_count=1)
    quantize = quantization.create(config.get("quantization", {"method": "none"}))
    if quantize is None:
        raise ValueError("its weights are not quantized; that is asked for with "
                         "quantization.method")
    step, state = last_state(workdir, config)
    mask = quantize.mask(state.params)
    layers = bits.measure_layers(
        state.params, classification.initial_params(config), mask, quantize.grid)
    bits.save(path, state.params, state.network_state, mask, quantize.grid)
    return f"after {step} steps\n{bits.format_layers(layers)}"
