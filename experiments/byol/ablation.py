"""The ablation table on digits: which part of the network needs a norm.

    python -m experiments.byol.ablation

Pretrains every row of digits.py once with BYOL's loss and once with SimCLR's, seed 0, and prints
the table of README.md: spread of the projections (0 collapsed, 1 isotropic) and accuracy of the
linear (ridge) probe. About ten minutes on two CPU cores.
"""

import itertools

from experiments.byol.claims import measure
from nfnets_jax.training import compilation

ROWS = [*(",".join(parts) for parts in itertools.product(("batch", "none"), repeat=3)),
        "layer,layer,layer", "group,group,group", "group_ws,group_ws,group_ws",
        "none_ws,none_ws,none_ws", "calibrated,calibrated,calibrated"]


def main() -> None:
    """Prints the table."""
    compilation.enable_compilation_cache()
    table = ["| encoder | projector | predictor | BYOL: spread | probe | SimCLR: spread | probe |",
             "|---|---|---|---|---|---|---|"]
    contrastive = {}
    for row in ROWS:
        encoder, projector, predictor = row.split(",")
        cells = [measure(row, 0)]
        # SimCLR has no predictor.
        if (encoder, projector) not in contrastive:
            contrastive[encoder, projector] = measure(f"simclr:{row}", 0)
        cells.append(contrastive[encoder, projector])
        shown = [f"{cell['projection_std']:.2g} | {cell['ridge_accuracy']:.1%}" for cell in cells]
        table.append(f"| {encoder} | {projector} | {predictor} | {' | '.join(shown)} |")
    print("\n" + "\n".join(table))


if __name__ == "__main__":
    main()
