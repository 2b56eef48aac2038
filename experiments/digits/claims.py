"""What the digits study claims: a normalizer-free network learns them as well as its BN twin."""

from collections.abc import Iterator

import numpy as np

from experiments.claims import Claim, train
from experiments.digits import bn_resnet, nf_resnet

SEEDS = (0, 1, 2)


def claims() -> Iterator[Claim]:
    """Test accuracy on the last 360 images, the mean of three seeds."""
    accuracy = {}
    for name, module in (("nf", nf_resnet), ("bn", bn_resnet)):
        accuracy[name] = []
        for seed in SEEDS:
            config = module.get_config()
            config.seed = seed
            accuracy[name].append(train(config)["accuracy"])
    shown = {name: f"{np.mean(values):.2%} ({', '.join(f'{v:.2%}' for v in values)})"
             for name, values in accuracy.items()}
    nf, bn = np.mean(accuracy["nf"]), np.mean(accuracy["bn"])
    yield Claim("nf_resnet.py: mean test accuracy of 3 seeds", "at least 97.0%", shown["nf"],
                bool(nf >= 0.97))
    yield Claim("bn_resnet.py: within 1 point of nf_resnet.py", f"{nf:.2%} +- 1%", shown["bn"],
                bool(abs(nf - bn) <= 0.01))
