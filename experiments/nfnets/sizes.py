"""Prints the table of the networks: parameters and multiply-adds, published and counted.

    python -m experiments.nfnets.sizes

Published values are those of the authors' README for the NFNets (parameters in millions,
multiply-adds in thousands of millions at the test size), what their released code gives for the
others when its parameters are counted and its own counter is run, and timm's result tables for
RegNet-Y and for what is named timm_*. Ours are counted in the traced program
(`nfnets_jax.analysis.cost`). `tests/nets/test_sizes.py` checks every row.
"""

from typing import NamedTuple

from nfnets_jax import nets
from nfnets_jax.analysis import cost

ROUNDING = (
    "the released counter halves odd sides without rounding up; the convolutions compute the "
    "whole row"
)


class Published(NamedTuple):
    """One row of the table.

    Attributes:
      parameters: exact, or millions with the published number of decimals.
      multiply_adds: thousands of millions with the published number of decimals; None: none is
        published.
      source: of both.
      difference: why ours differs, where it does.
    """

    parameters: int | float
    multiply_adds: float | None
    source: str
    difference: str = ""


README, CODE, TIMM = "authors' README", "released code", "timm's tables"
PUBLISHED = {
    "nfnet_f0": Published(71.5, 12.38, README),
    "nfnet_f1": Published(132.6, 35.54, README),
    "nfnet_f2": Published(193.8, 62.59, README),
    "nfnet_f3": Published(254.9, 114.76, README),
    "nfnet_f4": Published(316.1, 215.24, README),
    "nfnet_f5": Published(377.2, 289.76, README),
    "nfnet_f6": Published(438.4, 377.28, README),
    "nfnet_f7": Published(499.5, 480.39, TIMM, "timm's counter includes more than products; it "
                          "gives 378.69 where the authors have 377.28 for F6"),
    "nf_regnet_b0": Published(8_595_372, 0.444, CODE),
    "nf_regnet_b1": Published(10_019_208, 0.734, CODE),
    "nf_regnet_b2": Published(13_785_904, 1.099, CODE, ROUNDING),
    "nf_regnet_b3": Published(18_136_667, 1.999, CODE),
    "nf_regnet_b4": Published(29_315_830, 4.467, CODE),
    "nf_regnet_b5": Published(48_707_138, 10.561, CODE, ROUNDING),
    "nf_resnet50": Published(25_557_048, None, CODE),
    "nf_resnet101": Published(44_549_193, None, CODE),
    "nf_resnet152": Published(60_192_858, None, CODE),
    "nf_resnet200": Published(64_673_898, None, CODE),
    "nf_resnet288": Published(146_460_552, None, CODE),
    "bn_resnet50": Published(25_549_352, None, CODE),
    "skipinit_resnet50": Published(25_530_424, None, CODE),
    "fixup_resnet50": Published(25_504_026, None, CODE),
    "regnety_400mf": Published(4.34, 0.41, TIMM, "timm's counter includes more than products"),
    "regnety_600mf": Published(6.06, 0.61, TIMM, "timm's counter includes more than products"),
    "regnety_800mf": Published(6.26, 0.81, TIMM, "timm's counter includes more than products"),
    "regnety_1.6gf": Published(11.20, 1.63, TIMM, "timm's counter includes more than products"),
    "regnety_4gf": Published(20.65, 4.0, TIMM, "timm's counter includes more than products"),
    "regnety_8gf": Published(39.18, 8.0, TIMM, "timm's counter includes more than products"),
    "timm_nf_resnet50": Published(25.56, None, TIMM),
    "timm_nf_regnet_b1": Published(10.22, None, TIMM),
    "timm_nfnet_l0": Published(35.07, None, TIMM),
    "timm_eca_nfnet_l0": Published(24.14, None, TIMM),
    "timm_eca_nfnet_l1": Published(41.41, None, TIMM),
    "timm_eca_nfnet_l2": Published(56.72, None, TIMM),
}
# Without a published value.
OTHERS = ("nf_resnet26", "nf_seresnet50", "nf_regnet_b6", "nf_regnet_b7", "nf_regnet_b8",
          "nfnet_f0+", "nfnet_f3+", "nfnet_f7+", "bn_v1_resnet50", "plain_resnet50")


def count(name: str) -> tuple[int, int]:
    """Returns a network's parameters, and its multiply-adds for one image of its test size."""
    size = nets.image_sizes(name)[1]
    network = nets.create(name, num_classes=1000)
    shape = (size, size, 3)
    return cost.parameter_count(network, shape), cost.multiply_adds(network, shape)


def main() -> None:
    """Prints the table."""
    print("| network | pixels | parameters, published | ours | GMAC, published | ours | source |")
    print("|---|---|---|---|---|---|---|")
    notes = []
    for name in (*PUBLISHED, *OTHERS):
        parameters, multiply_adds = count(name)
        published = PUBLISHED.get(name, Published("", None, ""))
        mark = ""
        if published.difference:
            if published.difference not in notes:
                notes.append(published.difference)
            mark = f" [{notes.index(published.difference) + 1}]"
        total = published.parameters
        if isinstance(total, int | float):
            total = f"{total:,}" if isinstance(total, int) else f"{total:g} M"
        gmac = "" if published.multiply_adds is None else f"{published.multiply_adds:g}{mark}"
        print(f"| `{name}` | {nets.image_sizes(name)[1]} | {total} | {parameters:,} | {gmac} | "
              f"{multiply_adds / 1e9:.3f} | {published.source} |")
    for number, note in enumerate(notes, 1):
        print(f"\n[{number}] {note[0].upper()}{note[1:]}.")


if __name__ == "__main__":
    main()
