"""Quantized training as fields of a config: which weights lie on which grid, and how they move.

`optim.quantized` has the methods. Of "Training Quantized Nets" (arXiv 1706.02379) it was recalled,
not read, that convolutions alone are quantized, the first among them, and linear layers are not.
The nf_* networks standardize their `w` after it is rounded.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax.config import LARGEST_FLOAT, ConfigError, Fields, boolean, number, text
from nfnets_jax.optim import quantized
from nfnets_jax.tasks.task import Measurement

METHODS = ("none", "deterministic", "stochastic", "binary_connect")

FIELDS: Fields = {
    "method": text("none", METHODS),
    "layers": text("convolutions", ("convolutions", "matrices")),  # or every kernel
    "exclude": text(None),  # a regular expression: the modules it is found in stay float
    "grid": text("binary", ("binary", "fixed_point")),
    "scale": number(None, 0, open_below=True),  # of the binary grid; 1 by default
    "delta": number(None, 0, open_below=True),  # of fixed point, like its bounds
    "lower": number(None, -LARGEST_FLOAT),
    "upper": number(None, -LARGEST_FLOAT),
    "rounding": text(None, quantized.ROUNDINGS),  # of BinaryConnect; deterministic by default
    # What BinaryConnect evaluates: w_b, the default, or the float weights behind them.
    "evaluate": text(None, ("quantized", "latent")),
    # How often weights have changed, and the share that has, layer by layer.
    "log_changes": boolean(False),
}
_OF_GRIDS = {"binary": ("scale",), "fixed_point": ("delta", "lower", "upper")}


class Quantization(NamedTuple):
    """What a task does differently where weights are quantized.

    Attributes:
      wrap: optimizer -> one that keeps the weights on the grid; its `update` is given a key.
      start: `(key, params) -> params` that training begins with, after `wrap(...).init(params)`.
      project: `params -> params`, on the grid where the rounding errors of a step have missed it.
      evaluated: `(opt_state, params) -> params`.
      mask: `params -> tree` of bools, the quantized weights.
      grid: that they lie on.
      log_changes: whether more is measured of how they change.
    """

    wrap: Callable[[optax.GradientTransformation], optax.GradientTransformationExtraArgs]
    start: Callable[[jax.Array, hk.Params], hk.Params]
    project: Callable[[hk.Params], hk.Params]
    evaluated: Callable[[optax.OptState, hk.Params], hk.Params]
    mask: Callable[[hk.Params], Any]
    grid: quantized.Grid | quantized.BinaryGrid
    log_changes: bool


def check(config: dict[str, Any]) -> None:
    """Fills in and checks the fields `quantization`, and what they exclude.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    fields = config["quantization"]
    method, grid = fields["method"], fields["grid"]
    if method == "none":  # a sweep may set the other fields for its other methods
        return

    def refuse(field, reason):
        raise ConfigError(f"quantization.{field}={fields[field]!r}: {reason}")

    for other, names in _OF_GRIDS.items():
        for name in names:
            if other != grid and fields[name] is not None:
                refuse(name, f"belongs to the grid {other}, not to {grid}; unset it")
    if grid == "binary":
        fields["scale"] = 1.0 if fields["scale"] is None else fields["scale"]
    elif fields["delta"] is None:
        refuse("delta", "the grid fixed_point needs the distance of its points, such as 0.125")
    try:
        _grid(fields)
    except ValueError as error:
        message = str(error)
        for name, field in (("lo", "lower"), ("hi", "upper"), ("delta", "delta")):
            message = message.replace(f"{name}=", f"quantization.{field}=")
        raise ConfigError(message) from None
    for name, default in (("rounding", "deterministic"), ("evaluate", "quantized")):
        if method == "binary_connect":
            fields[name] = default if fields[name] is None else fields[name]
        elif fields[name] is not None:
            refuse(name, f"belongs to binary_connect, not to {method}; unset it")
    if fields["exclude"] is not None:
        try:
            re.compile(fields["exclude"])
        except re.error as error:
            refuse("exclude", f"not a regular expression ({error})")
    _check_others(config)


def _check_others(config):
    method = config["quantization"]["method"]
    where = f"quantization.method={method!r}"
    for source in ("workdir", "weights"):
        if config["pretrained"][source]:
            raise ConfigError(f"pretrained.{source}={config['pretrained'][source]!r}: with {where} "
                              "training starts from random weights; unset it")
    optimizer = config["optimizer"]
    if config["ema_decay"]:
        raise ConfigError(f"ema_decay={config['ema_decay']:g}: the average of quantized weights is "
                          f"not quantized; set it to 0 with {where}")
    if optimizer["sam_rho"]:
        raise ConfigError(f"optimizer.sam_rho={optimizer['sam_rho']:g}: its gradients are taken "
                          f"off the grid; set it to 0 with {where}")
    if optimizer["weight_decay"] and method != "binary_connect" and (
            config["quantization"]["grid"] == "binary"):
        raise ConfigError(
            f"optimizer.weight_decay={optimizer['weight_decay']:g}: the size of binary weights "
            f"never changes with {where}; set it to 0")


def create(fields: Mapping[str, Any]) -> Quantization | None:
    """What checked fields ask for; None for float weights."""
    method = fields["method"]
    if method == "none":
        return None
    grid, mask = _grid(fields), functools.partial(_mask, fields)
    shared = dict(mask=mask, count_flips=fields["log_changes"])
    project = functools.partial(quantized.project, grid=grid, mask=mask)
    of_points = Quantization(
        wrap=lambda inner: quantized.rounded(inner, grid, method, **shared),
        start=functools.partial(quantized.random_start, grid=grid, mask=mask),
        project=(lambda params: params) if grid.is_exact else project,
        evaluated=lambda opt_state, params: params,
        mask=mask, grid=grid, log_changes=fields["log_changes"])
    if method != "binary_connect":
        return of_points
    of_latent = of_points._replace(
        wrap=lambda inner: quantized.binary_connect(inner, grid, fields["rounding"], **shared),
        start=lambda key, params: project(params))
    if fields["evaluate"] == "latent":
        return of_latent._replace(evaluated=quantized.latent_params)
    return of_latent


def create_measure(
    quantization: Quantization, initial_params: Callable[[], hk.Params],
) -> Callable[..., Measurement]:
    """The `Experiment.measure` of quantized training.

    Args:
      quantization: from `create`.
      initial_params: those that the run began with; called once.

    Returns:
      A function whose metrics are `changed_fraction`, the share of weights that differ from those
      at the start, and for BinaryConnect `latent_distance`, the mean of |w_r - w_b|. With
      `log_changes` there are `changed_fraction_MODULE` of each module and `flips_per_weight`, how
      often a weight has changed.
    """
    start = functools.cache(lambda: _chosen(quantization, initial_params()))

    def measure(state, means, split, mesh) -> Measurement:
        del means, split, mesh
        now = _chosen(quantization, state.params)
        changed = {name: start()[name] != w for name, w in now.items()}
        metrics = {"changed_fraction": _mean(changed)}
        latent = optax.tree.get(state.opt_state, "latent")
        if latent is not None:
            latent = _chosen(quantization, quantized.latent_params(state.opt_state, state.params))
            metrics["latent_distance"] = _mean(
                {name: np.abs(latent[name] - w) for name, w in now.items()})
        if quantization.log_changes:
            metrics["flips_per_weight"] = float(optax.tree.get(state.opt_state, "flips"))
            metrics |= {f"changed_fraction_{name}": float(np.mean(x))
                        for name, x in changed.items()}
        return Measurement(metrics)

    return measure


def _grid(fields):
    if fields["grid"] == "binary":
        return quantized.BinaryGrid(fields["scale"])
    return quantized.Grid(fields["delta"], fields["lower"], fields["upper"])


def _mask(fields, params):
    convolutions = fields["layers"] == "convolutions"
    exclude = fields["exclude"]

    def is_quantized(module, name, value):
        return (name == "w" and (jnp.ndim(value) == 4 if convolutions else jnp.ndim(value) >= 2)
                and not (exclude is not None and re.search(exclude, module)))

    mask = hk.data_structures.map(is_quantized, params)
    if not any(jax.tree.leaves(mask)):
        raise ConfigError(
            f"quantization.layers={fields['layers']!r}: the network has none"
            + (f" outside quantization.exclude={exclude!r}" if exclude is not None else "")
            + ("; use quantization.layers=matrices" if convolutions else "")
            + "; its modules are " + ", ".join(params))
    return mask


def _chosen(quantization, params):
    """The quantized weights, by the name of their module."""
    mask = quantization.mask(params)
    return {module: np.asarray(values["w"]) for module, values in params.items()
            if mask[module].get("w")}


def _mean(arrays):
    return float(sum(np.sum(x) for x in arrays.values()) / sum(x.size for x in arrays.values()))
