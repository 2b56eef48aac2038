"""Fully connected residual networks of any depth, whose blocks are compiled once."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.activations import Activation
from nfnets_jax.nets.activations import activation as find_activation
from nfnets_jax.nets.heads import Linear
from nfnets_jax.nets.mlp import DENSE_INITIALIZERS, classify, flatten
from nfnets_jax.nets.normalization import Norm, make_norm
from nfnets_jax.nets.scan import apply_stacked


class DenseBlock(hk.Module):
    """x_{l+1} = c (x_l + g f(x_l)),  f(x) = W1 act(norm(W0 act(norm(x)) + b0)) + b1.

    With no norm, c = 1 and a trained scalar g (`skip_gain`) this is SkipInit's block
    (arXiv 2002.10444), whose g is the last operation on the branch, after the bias. Without the
    skip, x_{l+1} = f(x_l).
    """

    def __init__(
        self,
        activation: Activation,
        norm: Norm | None = None,
        skip_gain_init: float | None = None,
        output_scale: float = 1.0,
        use_skip: bool = True,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          activation: applied before each matrix.
          norm: from `make_norm`, before each activation, or None.
          skip_gain_init: initial value of the branch's trained scalar; None for no such scalar.
          output_scale: the constant c.
          use_skip: whether x is added to the branch.
          name: of the module.
        """
        super().__init__(name=name)
        self.activation = activation
        self.norm = norm
        self.skip_gain_init = skip_gain_init
        self.output_scale = output_scale
        self.use_skip = use_skip

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, width] to the same shape and dtype."""
        out = x
        for i in range(2):
            if self.norm is not None:
                out = self.norm(out, is_training, name=f"bn{i}")
            out = Linear(x.shape[-1], with_bias=True, w_init=DENSE_INITIALIZERS["he"],
                         name=f"linear{i}")(self.activation(out))
        if self.skip_gain_init is not None:
            init = hk.initializers.Constant(self.skip_gain_init)
            out = out * hk.get_parameter("skip_gain", (), jnp.float32, init=init).astype(x.dtype)
        return self.output_scale * (x + out) if self.use_skip else out


class DenseFixUpBlock(hk.Module):
    """FixUp's rules (arXiv 1901.09321) for the block x + f(x) of two matrices.

    A scalar bias, initially 0, stands before each activation and each matrix and after the branch,
    and a scalar multiplier, initially 1, behind the last matrix, which starts as 0. The first
    starts as N(0, 2 / fan_in) times num_blocks^(-1/2).
    """

    def __init__(self, activation: Activation, num_blocks: int, name: str | None = None):
        """Sets the hyperparameters.

        Args:
          activation: applied before each matrix.
          num_blocks: of the network.
          name: of the module.
        """
        super().__init__(name=name)
        self.activation = activation
        self.num_blocks = num_blocks

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, width] to the same shape and dtype."""
        del is_training

        def scalar(name, init=jnp.zeros):
            return hk.get_parameter(name, (), jnp.float32, init=init).astype(x.dtype)

        first = hk.initializers.VarianceScaling(2.0 / self.num_blocks, "fan_in", "normal")
        out = x
        for i, w_init in enumerate((first, jnp.zeros)):
            out = self.activation(out + scalar(f"bias{i}a")) + scalar(f"bias{i}b")
            out = Linear(x.shape[-1], with_bias=False, w_init=w_init, name=f"linear{i}")(out)
        return x + out * scalar("scale", jnp.ones) + scalar("bias2")


class ResidualMLP(hk.Module):
    """Linear stem, residual blocks of one width, activation and linear classifier.

    The blocks are one loop: each of their parameters is an array with a leading axis for the
    blocks, and so is the state of their norms. The matrices of stem and classifier start as
    N(0, 1 / fan_in), those of FixUp's classifier as 0, all biases as 0. With a norm there is
    another before the last activation.
    """

    def __init__(
        self,
        num_classes: int | None,
        block: str,
        width: int,
        num_blocks: int,
        activation: str,
        skip_gain_init: float | None = None,
        use_skip: bool = True,
        norm: str | None = None,
        num_groups: int = 16,
        ghost_size: int = 64,
        bn_decay_rate: float = 0.9,
        bn_eps: float = 1e-5,
        cross_replica_axis: str | None = None,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          num_classes: number of logits; None for a network that ends in its features.
          block: 'bn', 'skipinit', 'sqrt2', 'plain' (a sum and nothing else) or 'fixup'.
          width: of the stem and of every block.
          num_blocks: number of blocks, of two matrices each.
          activation: a name from `activation_names()`.
          skip_gain_init: of block='skipinit'.
          use_skip: of block='bn' and 'plain', whether each block's input is added to its branch.
          norm: of block='bn'; with what follows, see `make_norm`.
          num_groups: of norm='group'.
          ghost_size: of norm='ghost_batch'.
          bn_decay_rate: of the moving averages of batch statistics.
          bn_eps: added to the variance.
          cross_replica_axis: of norm='batch'.
          name: of the module.
        """
        super().__init__(name=name)
        self.num_classes = num_classes
        self.block = block
        self.width = width
        self.num_blocks = num_blocks
        self.activation = find_activation(activation, scaled=False)
        self.norm = None
        if norm is not None:
            self.norm = make_norm(norm, num_groups=num_groups, ghost_size=ghost_size,
                                  decay_rate=bn_decay_rate, eps=bn_eps,
                                  cross_replica_axis=cross_replica_axis)
        if block == "fixup":
            self.make_block = functools.partial(DenseFixUpBlock, num_blocks=num_blocks)
        else:
            self.make_block = functools.partial(
                DenseBlock, norm=self.norm, skip_gain_init=skip_gain_init, use_skip=use_skip,
                output_scale=2**-0.5 if block == "sqrt2" else 1.0)

    def __call__(self, images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        """Classifies float images [N, H, W, C]; see `nets.create`.

        Raises:
          ValueError: if the images are not a floating-point array of rank 4.
        """
        init = DENSE_INITIALIZERS["lecun"]
        x = Linear(self.width, with_bias=True, w_init=init, name="stem")(flatten(images))

        def apply_block(x: jax.Array) -> jax.Array:
            return self.make_block(self.activation, name="block")(x, is_training)

        x = apply_stacked(apply_block, self.num_blocks, x, "blocks")
        if self.norm is not None:
            x = self.norm(x, is_training, name="final_bn")
        return classify(self.activation(x), self.num_classes,
                        jnp.zeros if self.block == "fixup" else init)
