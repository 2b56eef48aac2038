"""Draws the signal propagation plots of arXiv 2101.08692: every ordering and ablation, one figure.

    python -m experiments.nf_resnets.signal_propagation
    python -m experiments.nf_resnets.signal_propagation --depth=600 --output=spp600.png

At initialisation, with Gaussian noise of 224 pixels, skip gains 1, and networks of a quarter of the
width. Predictions start from the measured output of the stem, whose max-pool has no closed form.
About two minutes on a laptop for depth 288 (96 blocks), four for 600 (200 blocks).

    --depth=D          26, 50, 101, 152, 200, 288 or 600; default 288
    --only=A,B         names of rows; default all
    --output=FILE      .png, .pdf or .svg; default docs/figures/signal_propagation_resnetD.png
"""

from typing import Any, NamedTuple

import jax
from absl import flags

from nfnets_jax import command_line, nets
from nfnets_jax.analysis import signal_propagation
from nfnets_jax.reports import signal_propagation as report
from nfnets_jax.training import compilation

_DEPTH = flags.DEFINE_enum(
    "depth", "288", ["26", "50", "101", "152", "200", "288", "600"], "Of the ResNets.")
_ONLY = flags.DEFINE_list("only", None, "Rows to draw.")
_OUTPUT = flags.DEFINE_string("output", None, "File to draw into.")

# A quarter of the width: 16 channels in the stem, 64 to 512 in the stages.
NARROW = dict(stem_width=16, widths=(64, 128, 256, 512))
NUM_IMAGES, IMAGE_SIZE = 4, 224


class Case(NamedTuple):
    """One row of the figure.

    Attributes:
      label: of the row.
      block: of the network, the first part of its name.
      overrides: of the network's arguments.
    """

    label: str
    block: str
    overrides: dict[str, Any]


CASES = {
    "bn_relu": Case("BN, ReLU, conv\n(He)", "bn", dict(weight_init="he")),
    "relu_bn": Case(
        "ReLU, BN, conv\n(He)", "bn", dict(weight_init="he", norm_order="act_norm")),
    "none": Case("no normalization\n(He)", "plain", {}),
    "nf_he": Case("NF without WS\n(He)", "nf", dict(weight_standardization=False)),
    "nf": Case("NF, scaled WS\nReLU", "nf", {}),
    "nf_silu": Case("NF, scaled WS\nSiLU", "nf", dict(activation="silu")),
}


def measure(case: Case, depth: str, seed: int = 0) -> report.Row:
    """Measures one network at initialisation; returns its row."""
    name = f"{case.block}_resnet{depth}"
    overrides = {**NARROW, **case.overrides}
    network = nets.create(name, num_classes=10, **overrides)
    key_init, key_images = jax.random.split(jax.random.key(seed))
    images = jax.random.normal(key_images, (NUM_IMAGES, IMAGE_SIZE, IMAGE_SIZE, 3))
    params, state = network.init(key_init, images[:1, :64, :64], True)
    measured = signal_propagation.measure(
        network, signal_propagation.with_unit_skip_gain(params), state, images)
    stem = measured["average_variance"][0], measured["average_squared_mean"][0]
    return report.Row(
        case.label, measured, nets.expected_variance(name, stem_moments=stem, **overrides))


def main(argv: list[str]) -> None:
    """Runs the program; the arguments are above."""
    del argv
    depth = _DEPTH.value
    output = _OUTPUT.value or f"docs/figures/signal_propagation_resnet{depth}.png"
    chosen = _ONLY.value or list(CASES)
    for name in chosen:
        if name not in CASES:
            command_line.fail(f"--only={name}: no such row; there are {', '.join(CASES)}")
    compilation.enable_compilation_cache()
    rows = []
    for name in chosen:
        rows.append(measure(CASES[name], depth))
        last = {key: f"{values[-1]:.3g}" for key, values in rows[-1].measured.items()}
        print(f"{name}: at the last block {last}", flush=True)
    try:
        report.plot_rows(rows, output)
    except ValueError as error:
        command_line.fail(f"--output={error}")
    print(f"drew {output}")


if __name__ == "__main__":
    command_line.run(main)
