"""Adaptive gradient clipping (Brock et al. 2021, arXiv 2102.06171, section 4)."""

import haiku as hk
import optax


def adaptive_grad_clip(clipping, eps: float = 1e-3) -> optax.GradientTransformation:
    """Clips the gradient of each output unit relative to the norm of the unit's weights.

    G_i <- clipping max(||W_i||, eps) G_i / ||G_i||, where ||G_i|| exceeds that bound. A unit is the
    whole of a scalar or vector, a column of a linear layer [I, O] and an output channel of a
    convolution [kh, kw, I, O]. The final layer, the module named `classifier`, is left alone.

    This is `optax.adaptive_grad_clip` under a mask. Its units are right for Haiku's HWIO kernels
    and linear layers, and the same as in the authors' released code. What to know about them: a
    parameter with at most one axis longer than 1 is one vector, so that a convolution or a linear
    layer with a single input and many outputs is one unit; rank 3 is reduced over axis 0 alone,
    where optax's documentation says three axes (the only such parameter here, the [k, 1, 1] kernel
    of efficient channel attention, is one vector either way).

    The released code leaves the final layer's weights alone but clips its bias, which it puts
    among the gains and biases; here the whole layer is exempt, as the paper says.

    Args:
      clipping: lambda, the largest ratio of the norms; may be traced.
      eps: norm that smaller weights are taken to have, so that zeros can move.
    """
    return optax.masked(optax.adaptive_grad_clip(clipping, eps), clipped_mask)


def clipped_mask(params) -> dict:
    """False for the parameters of the module named `classifier`, True for all others.

    Args:
      params: a Haiku parameter tree, `{module: {name: array}}`.
    """
    return hk.data_structures.map(
        lambda module, name, value: module.split("/")[-1] != "classifier", params)
