"""Where each residual block stands, and which convolutions its branch is made of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Kernel(NamedTuple):
    """One convolution of a residual branch.

    Attributes:
      name: of the module.
      channels: of the output.
      size: height and width.
      stride: in both directions.
      groups: number of groups that the channels are divided into.
    """

    name: str
    channels: int
    size: int
    stride: int = 1
    groups: int = 1


class BlockPlan(NamedTuple):
    """Place of one residual block in a network.

    Attributes:
      index: of the block in the network, from 0.
      stage: of the block, from 0.
      channels: of the output.
      stride: of the block.
      is_transition: whether the shortcut is a convolution (the stride or the width changes).
      kernels: the convolutions of the branch, in order.
    """

    index: int
    stage: int
    channels: int
    stride: int
    is_transition: bool
    kernels: tuple[Kernel, ...]


# (in_channels, channels, stride, index of the block) -> the convolutions of its branch
Branch = Callable[[int, int, int, int], tuple[Kernel, ...]]


def resnet_branch(bottleneck: bool) -> Branch:
    """1x1, 3x3, 1x1 with a quarter of the width inside (bottleneck), or two 3x3 (basic)."""

    def branch(in_channels: int, channels: int, stride: int, index: int) -> tuple[Kernel, ...]:
        del in_channels, index
        if not bottleneck:
            return Kernel("conv0", channels, 3, stride), Kernel("conv1", channels, 3)
        mid = channels // 4
        return (
            Kernel("conv0", mid, 1),
            Kernel("conv1", mid, 3, stride),
            Kernel("conv2", channels, 1),
        )

    return branch


def regnet_branch(expansion: float, group_size: int, round_widths: bool = False) -> Branch:
    """The NF-RegNets' inverted bottleneck: 1x1, grouped 3x3, 1x1, wide inside.

    The inner width is `expansion` times the *input* width (1 times in the first block of the
    network), brought down to a multiple of `group_size`.

    Args:
      expansion: of the inner width.
      group_size: channels of one group.
      round_widths: whether the width is brought to a multiple of 8 first, as in timm.
    """

    def branch(in_channels: int, channels: int, stride: int, index: int) -> tuple[Kernel, ...]:
        mid = in_channels * (expansion if index else 1)
        if round_widths:
            mid = round_to_8(mid)
        groups = int(mid) // group_size
        mid = groups * group_size
        return (
            Kernel("conv0", mid, 1),
            Kernel("conv1", mid, 3, stride, groups),
            Kernel("conv2", channels, 1),
        )

    return branch


def nfnet_branch(expansion: float, group_size: int, use_two_convs: bool) -> Branch:
    """The NFNets' bottleneck: 1x1, one or two grouped 3x3, 1x1 (arXiv 2102.06171, section 4).

    The inner width is `expansion` times the *output* width, brought down to a multiple of
    `group_size`.
    """

    def branch(in_channels: int, channels: int, stride: int, index: int) -> tuple[Kernel, ...]:
        del in_channels, index
        groups = int(channels * expansion) // group_size
        mid = groups * group_size
        second = (Kernel("conv1b", mid, 3, 1, groups),) if use_two_convs else ()
        return (
            Kernel("conv0", mid, 1),
            Kernel("conv1", mid, 3, stride, groups),
            *second,
            Kernel("conv2", channels, 1),
        )

    return branch


def round_to_8(width: float) -> int:
    """The multiple of 8 nearest to a width, or the next one if that is under 90 % of it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


def plan_blocks(
    stem_width: int,
    widths: Sequence[int],
    depths: Sequence[int],
    strides: Sequence[int],
    branch: Branch,
) -> list[BlockPlan]:
    """Lists the blocks of a network whose stages have these widths, depths and strides."""
    plan: list[BlockPlan] = []
    channels = stem_width
    for stage, (width, depth, stage_stride) in enumerate(zip(widths, depths, strides, strict=True)):
        for i in range(depth):
            stride = stage_stride if i == 0 else 1
            kernels = branch(channels, width, stride, len(plan))
            is_transition = stride > 1 or channels != width
            plan.append(BlockPlan(len(plan), stage, width, stride, is_transition, kernels))
            channels = width
    return plan


def expected_variances(plan: Sequence[BlockPlan], alpha: float) -> list[float]:
    """Analytic variance of a normalizer-free network's signal, with skip_gain = 1.

    v_0 = 1; v_{l+1} = v_l + alpha^2, and 1 + alpha^2 after a transition block, whose shortcut
    starts from the scaled activation (arXiv 2101.08692, section 3).

    Returns:
      The variance at the input of each block, then at the output of the last one.
    """
    variances = [1.0]
    for block in plan:
        variances.append((1.0 if block.is_transition else variances[-1]) + alpha**2)
    return variances
