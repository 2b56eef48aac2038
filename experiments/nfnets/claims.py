"""What the NFNets' study claims, on 8x8 digits."""

from collections.abc import Iterator

from experiments.claims import Claim, train
from experiments.nfnets import digits, digits_batch_size
from nfnets_jax.training.loop import NonFiniteLossError

VARIANTS = ("nf_resnet_digits,128", "nf_resnet_digits,128,agc", "bn_resnet_digits,128",
            "nf_resnet_digits,1024", "nf_resnet_digits,1024,agc", "bn_resnet_digits,1024")


def claims() -> Iterator[Claim]:
    """Test accuracy on the last 360 images, seed 0; one image is 0.28 points."""
    for variant, least in (("plain", 0.9), ("sam", 0.9)):
        accuracy = train(digits.get_config(variant))["accuracy"]
        yield Claim(f"digits.py:{variant}: test accuracy", f"at least {least:.1%}",
                    f"{accuracy:.2%}", accuracy >= least)
    accuracy = {variant: _accuracy(variant) for variant in VARIANTS}
    for variant, value in accuracy.items():
        fails = variant == "nf_resnet_digits,1024"
        yield Claim(f"digits_batch_size.py:{variant}", "fails" if fails else "at least 94.0%",
                    "fails" if value is None else f"{value:.2%}",
                    (value is None or value < 0.5) if fails else (value or 0.0) >= 0.94)


def _accuracy(variant: str) -> float | None:
    """Test accuracy, or None if the run ended in numbers that are not finite."""
    try:
        return train(digits_batch_size.get_config(variant))["accuracy"]
    except NonFiniteLossError:
        return None
