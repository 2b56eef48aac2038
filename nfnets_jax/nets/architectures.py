"""The published networks: names and tables of their shapes.

Sources: the authors' released code for arXiv 2101.08692 and 2102.06171 (NF-ResNet, NF-RegNet,
NFNet and the ResNet baselines), arXiv 2003.13678 (RegNet-Y), arXiv 1605.07146 (Wide-ResNet), and
timm's model definitions for what is named `timm_*`. The residual networks for CIFAR (arXiv
1512.03385) and vgg9 (arXiv 1706.02379, 1807.06766) are recalled and have the parameters that these
papers count, as recalled too: 0.84 M in the convolutions of `bn_v1_cifar_resnet56`, 3.4 M in those
of `bn_v1_cifar_resnet56_2`, which is called WRN-56-2. vgg_bc is BinaryConnect's network (arXiv
1511.00363), whose norms stand behind the max-pools (recalled); here they stand before them.
"""

import math
import re
from typing import Any, NamedTuple

from nfnets_jax.naming import nearest
from nfnets_jax.nets.branches import round_to_8

BLOCKS = ("nf", "skipinit", "sqrt2", "fixup", "bn", "bn_v1", "plain")
DENSE_BLOCKS = ("skipinit", "sqrt2", "fixup", "bn", "plain")

_BASIC_RESNET_DEPTHS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}
_RESNET_DEPTHS = {
    "26": (2, 2, 2, 2),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 24, 36, 3),
    "288": (24, 24, 24, 24),
    "600": (50, 50, 50, 50),
}

_LISTED_WIDE_RESNETS = ("16_2", "16_4", "28_10", "40_4", "100_2", "1000_2")

# Widths before the multiplication by 0.75, depths, training and test pixels, dropout.
_NF_REGNETS = {
    "b0": ((48, 104, 208, 440), (1, 3, 6, 6), (192, 224), 0.2),
    "b1": ((48, 104, 208, 440), (2, 4, 7, 7), (224, 256), 0.2),
    "b2": ((56, 112, 232, 488), (2, 4, 8, 8), (240, 272), 0.3),
    "b3": ((56, 128, 248, 528), (2, 5, 9, 9), (288, 320), 0.3),
    "b4": ((64, 144, 288, 616), (2, 6, 11, 11), (320, 384), 0.4),
    "b5": ((80, 168, 336, 704), (3, 7, 14, 14), (384, 456), 0.4),
    "b6": ((88, 184, 376, 792), (3, 8, 16, 16), (448, 528), 0.5),
    "b7": ((96, 208, 416, 880), (4, 10, 19, 19), (512, 600), 0.5),
    "b8": ((104, 232, 456, 968), (4, 11, 22, 22), (600, 672), 0.5),
}

# Training and test pixels, dropout. The depths of F_k are k + 1 times those of F0.
_NFNETS = {
    "f0": ((192, 256), 0.2),
    "f1": ((224, 320), 0.3),
    "f2": ((256, 352), 0.4),
    "f3": ((320, 416), 0.4),
    "f4": ((384, 512), 0.5),
    "f5": ((416, 544), 0.5),
    "f6": ((448, 576), 0.5),
    "f7": ((480, 608), 0.5),
}

# w_0, w_a, w_m, group width, depth (arXiv 2003.13678, the released model zoo).
_REGNETYS = {
    "400mf": (48, 27.89, 2.09, 8, 16),
    "600mf": (48, 32.54, 2.32, 16, 15),
    "800mf": (56, 38.84, 2.4, 16, 14),
    "1.6gf": (48, 20.71, 2.65, 24, 27),
    "4gf": (96, 31.41, 2.24, 64, 22),
    "8gf": (192, 76.82, 2.19, 56, 17),
}

# timm's light NFNets: depth multiple, head width, (training, test) pixels.
_TIMM_LIGHT = {"l0": (1, 2304, (224, 288)), "l1": (2, 3072, (256, 320)),
               "l2": (3, 3072, (320, 384)), "l3": (4, 3072, (352, 448))}


class Architecture(NamedTuple):
    """One network.

    Attributes:
      block: kind of residual block, one of `BLOCKS`; 'none' without.
      branch: kind of residual branch: 'resnet', 'regnet' or 'nfnet'; 'none' without.
      values: arguments that differ from the defaults of its kinds.
      image_sizes: pixels of (training, test) images.
      module_name: of the Haiku module, the first part of every parameter's name.
      family: which module builds it: 'resnet' for all that has stages of convolutional blocks,
        'vgg', 'mlp' or 'residual_mlp'.
    """

    block: str
    branch: str
    values: dict[str, Any]
    image_sizes: tuple[int, int]
    module_name: str
    family: str = "resnet"


def names() -> list[str]:
    """Returns the sorted names of the usual networks.

    `{block}_wrn_{d}_{k}` is accepted for every depth d = 6b + 4 and width k, also if not listed,
    and `{block}_cifar_resnet{d}_{k}` for d = 6b + 2; without _{k} the width is 1.
    """
    kinds = [f"resnet{depth}" for depth in (*_BASIC_RESNET_DEPTHS, *_RESNET_DEPTHS)]
    kinds += [f"wrn_{size}" for size in _LISTED_WIDE_RESNETS]
    kinds += ["resnet_digits"]
    listed = [f"{block}_{kind}" for block in BLOCKS for kind in kinds]
    listed += [f"{block}_seresnet{depth}" for block in ("nf", "bn") for depth in _RESNET_DEPTHS]
    listed += [f"nf_regnet_{size}" for size in _NF_REGNETS] + ["nf_regnet_digits"]
    listed += [f"nfnet_{size}{plus}" for size in _NFNETS for plus in ("", "+")] + ["nfnet_digits"]
    listed += [f"regnety_{size}" for size in _REGNETYS]
    listed += [f"timm_nf_{kind}resnet{depth}" for kind in ("", "se", "eca")
               for depth in ("26", "50", "101")]
    listed += [f"timm_nf_regnet_b{k}" for k in range(6)]
    listed += [f"timm_nfnet_{size}" for size in (*_NFNETS, "l0")]
    listed += [f"timm_eca_nfnet_{size}" for size in _TIMM_LIGHT]
    listed += [f"bn_v1_cifar_resnet{size}" for size in ("20", "56", "56_2")]
    listed += ["vgg9", "vgg_bc", "vgg_digits"]
    listed += ["mlp"] + [f"{block}_mlp" for block in DENSE_BLOCKS]
    return sorted(listed)


def find(name: str) -> Architecture:
    """Returns the network of a name.

    Raises:
      ValueError: if the name is unknown; lists the nearest ones.
    """
    for pattern, build in _PATTERNS:
        matched = re.fullmatch(pattern, str(name))
        if matched:
            architecture = build(*matched.groups())
            if architecture is not None:
                return architecture
    raise _unknown(name)


def _unknown(name: str, why: str = "") -> ValueError:
    return ValueError(
        f"network {name!r} is unknown{why}; nearest: {nearest(name, names())}"
    )


def _resnet(block: str, se: str | None, depth: str) -> Architecture | None:
    if depth in _BASIC_RESNET_DEPTHS and not se:
        values = dict(
            widths=(64, 128, 256, 512), depths=_BASIC_RESNET_DEPTHS[depth], strides=(1, 2, 2, 2),
            stem="imagenet", stem_width=64, bottleneck=False)
        return Architecture(block, "resnet", values, (224, 224), f"{block}_resnet")
    if depth not in _RESNET_DEPTHS or (se and block not in ("nf", "bn")):
        return None
    values = dict(
        widths=(256, 512, 1024, 2048), depths=_RESNET_DEPTHS[depth], strides=(1, 2, 2, 2),
        stem="imagenet", stem_width=64, bottleneck=True,
    )
    if se:
        values["use_se"] = True
    return Architecture(block, "resnet", values, (224, 224), f"{block}_resnet")


def _digits(block: str) -> Architecture:
    values = dict(widths=(32, 64), depths=(2, 4), strides=(1, 2), stem="cifar", stem_width=32,
                  bottleneck=False)
    return Architecture(block, "resnet", values, (8, 8), f"{block}_resnet")


def _wide_resnet(block: str, depth: str, width: str) -> Architecture:
    return _for_cifar(block, f"{block}_wrn_{depth}_{width}", int(depth), 4, int(width))


def _cifar_resnet(block: str, depth: str, width: str | None) -> Architecture:
    name = f"{block}_cifar_resnet{depth}" + (f"_{width}" if width else "")
    architecture = _for_cifar(block, name, int(depth), 2, int(width or 1))
    if block == "bn_v1":
        architecture.values["use_projection"] = False
    return architecture


def _for_cifar(block: str, name: str, depth: int, others: int, k: int) -> Architecture:
    """Three stages of 16k, 32k and 64k channels; `others` are the layers outside of branches."""
    if depth < 6 + others or (depth - others) % 6:
        raise _unknown(
            name, f": depth {depth} is not 6 b + {others} for a whole number b of at least 1")
    values = dict(widths=(16 * k, 32 * k, 64 * k), depths=((depth - others) // 6,) * 3,
                  strides=(1, 2, 2), stem="cifar", stem_width=16, bottleneck=False)
    if block in ("skipinit", "sqrt2", "plain"):
        values["conv_bias"] = False  # arXiv 2002.10444: plain SkipInit adds no biases.
    return Architecture(block, "resnet", values, (32, 32), f"{block}_resnet")


def _nf_regnet(size: str) -> Architecture:
    base_widths, depths, image_sizes, dropout_rate = _NF_REGNETS[size]
    widths = tuple(int(0.75 * width) for width in base_widths)
    values = dict(
        widths=widths, depths=depths, strides=(2, 2, 2, 2), stem="regnet", stem_width=widths[0],
        head_width=1280 * widths[-1] // 440, dropout_rate=dropout_rate, stochastic_depth_rate=0.1,
        use_se=True, se_ratio=0.5, activation="silu", classifier_init_std=0.0, shortcut="avg_pool",
    )
    return Architecture("nf", "regnet", values, image_sizes, "nf_regnet")


def _nf_regnet_digits() -> Architecture:
    values = dict(
        widths=(24, 48), depths=(2, 3), strides=(1, 2), stem="cifar", stem_width=24, head_width=96,
        dropout_rate=0.0, stochastic_depth_rate=0.0, use_se=True, se_ratio=0.5, activation="silu",
        classifier_init_std=0.0, shortcut="avg_pool",
    )
    return Architecture("nf", "regnet", values, (8, 8), "nf_regnet")


def _nfnet(size: str, plus: str) -> Architecture:
    image_sizes, dropout_rate = _NFNETS[size]
    widths = (384, 768, 2048, 2048) if plus else (256, 512, 1536, 1536)
    values = dict(
        widths=widths, depths=_nfnet_depths(int(size[1:]) + 1), strides=(1, 2, 2, 2),
        stem="nfnet", stem_width=widths[0] // 2, head_width=2 * widths[-1], group_size=128,
        dropout_rate=dropout_rate, stochastic_depth_rate=0.25, use_se=True, se_ratio=0.5,
        activation="gelu", shortcut="avg_pool",
    )
    return Architecture("nf", "nfnet", values, image_sizes, "nfnet")


def _nfnet_digits() -> Architecture:
    values = dict(
        widths=(32, 64), depths=(1, 2), strides=(1, 2), stem="cifar", stem_width=32, head_width=128,
        group_size=8, dropout_rate=0.0, stochastic_depth_rate=0.0, use_se=True, se_ratio=0.5,
        activation="gelu", shortcut="avg_pool",
    )
    return Architecture("nf", "nfnet", values, (8, 8), "nfnet")


def _nfnet_depths(multiple: int) -> tuple[int, ...]:
    return tuple(multiple * depth for depth in (1, 2, 6, 3))


def _regnety(size: str) -> Architecture:
    w_0, w_a, w_m, group_size, depth = _REGNETYS[size]
    widths: list[int] = []
    for i in range(depth):
        steps = round(math.log((w_0 + w_a * i) / w_0) / math.log(w_m))
        width = round(w_0 * w_m**steps / 8) * 8
        widths.append(round(width / group_size) * group_size)
    stages = sorted(set(widths))
    values = dict(
        widths=tuple(stages), depths=tuple(widths.count(width) for width in stages),
        strides=(2,) * len(stages), stem="regnet", stem_width=32, group_size=group_size,
        expansion=1.0, use_two_convs=False, use_se=True, classifier_init_std=0.01,
        weight_init="he",
    )
    return Architecture("bn_v1", "nfnet", values, (224, 224), "regnety")


# What timm builds differently: arXiv 2101.08692 in PyTorch's conventions, without skip gains.
_TIMM = dict(padding="symmetric", gamma_in="weights", eps_mode="add_to_variance", eps=1e-5,
             shortcut="avg_pool", use_skip_gain=False, round_widths=True, scale_by_keep=True,
             dropout_rate=0.0, stochastic_depth_rate=0.0, classifier_init_std=0.01)


def _timm_resnet(gate: str, depth: str) -> Architecture:
    base = _resnet("nf", "", depth)
    gates = {"": {}, "se": dict(use_se=True, se_ratio=1 / 16), "eca": dict(use_eca=True)}
    values = {**base.values, **_TIMM, **gates[gate]}
    return base._replace(values=values, image_sizes=(256, 288))


def _timm_regnet(size: str) -> Architecture:
    base = _nf_regnet(size)
    widths = tuple(round_to_8(0.75 * width) for width in _NF_REGNETS[size][0])
    head_width = round_to_8(0.75 * (1280 * _NF_REGNETS[size][0][-1] // 440))
    values = {**base.values, **_TIMM, "classifier_init_std": 0.01, "widths": widths,
              "stem_width": widths[0], "head_width": head_width}
    sizes = {"b0": (192, 256), "b1": (256, 288)}.get(size, base.image_sizes)
    return base._replace(values=values, image_sizes=sizes)


def _timm_nfnet(size: str) -> Architecture:
    base = _nfnet(size, "")
    return base._replace(values={**base.values, **_TIMM, "activation": "gelu_erf"})


def _timm_light(gate: str, size: str) -> Architecture:
    multiple, head_width, image_sizes = _TIMM_LIGHT[size]
    base = _timm_nfnet("f0")
    values = {**base.values, "depths": _nfnet_depths(multiple), "head_width": head_width,
              "expansion": 0.25, "group_size": 64, "activation": "silu", "se_ratio": 0.25,
              "use_se": not gate, "use_eca": bool(gate)}
    return base._replace(values=values, image_sizes=image_sizes)


# Stages of convolutions, hidden layers, whether the logits are normalized, pixels.
_VGGS = {
    "9": ((64, 128, 256), (2, 2, 3), (256,), False, 32),
    "_bc": ((128, 256, 512), (2, 2, 2), (1024, 1024), True, 32),
    "_digits": ((16, 32), (2, 2), (64,), False, 8),
}


def _vgg(size: str) -> Architecture:
    widths, depths, hidden_widths, norm_classifier, pixels = _VGGS[size]
    values = dict(widths=widths, depths=depths, hidden_widths=hidden_widths,
                  norm_classifier=norm_classifier)
    return Architecture("none", "none", values, (pixels, pixels), "vgg", family="vgg")


def _mlp() -> Architecture:
    return Architecture("none", "none", {}, (8, 8), "mlp", family="mlp")


def _residual_mlp(block: str) -> Architecture:
    return Architecture(block, "none", {}, (8, 8), f"{block}_mlp", family="residual_mlp")


_BLOCK = f"({'|'.join(BLOCKS)})"
_PATTERNS = (
    (rf"{_BLOCK}_(se)?resnet(\d+)", _resnet),
    (rf"{_BLOCK}_resnet_digits", _digits),
    (rf"{_BLOCK}_wrn_([1-9]\d*)_([1-9]\d*)", _wide_resnet),
    (rf"{_BLOCK}_cifar_resnet([1-9]\d*)(?:_([1-9]\d*))?", _cifar_resnet),
    (r"vgg(9|_bc|_digits)", _vgg),
    (r"nf_regnet_(b[0-8])", _nf_regnet),
    (r"nf_regnet_digits", _nf_regnet_digits),
    (r"nfnet_(f[0-7])(\+?)", _nfnet),
    (r"nfnet_digits", _nfnet_digits),
    (rf"regnety_({'|'.join(map(re.escape, _REGNETYS))})", _regnety),
    (r"timm_nf_(|se|eca)resnet(26|50|101)", _timm_resnet),
    (r"timm_nf_regnet_(b[0-5])", _timm_regnet),
    (r"timm_nfnet_(f[0-7])", _timm_nfnet),
    (r"timm_()nfnet_(l0)", _timm_light),
    (r"timm_(eca)_nfnet_(l[0-3])", _timm_light),
    (r"mlp", _mlp),
    (rf"({'|'.join(DENSE_BLOCKS)})_mlp", _residual_mlp),
)
