"""How signals, gradients and noise move through deep networks, with and without normalization."""

__version__ = "0.1.0"
