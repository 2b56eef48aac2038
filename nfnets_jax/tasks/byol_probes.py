"""What is measured and drawn of a pretraining run beside its loss: probes, collapse, pictures."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nfnets_jax.analysis import embeddings, neighbours
from nfnets_jax.data import prefetch_to_device
from nfnets_jax.reports import embeddings as embeddings_report
from nfnets_jax.reports import views as views_report
from nfnets_jax.tasks.task import Measurement
from nfnets_jax.training.mesh import (
    DATA,
    REPLICATED,
    SHARDED,
    make_mesh,
    map_over_devices,
    sharding,
)

_NUM_SHOWN = 8


class Probes:
    """The measurements and pictures of one run; compiles what it needs when it is first used."""

    def __init__(
        self,
        config: dict[str, Any],
        functions: Any,
        train_batches: Callable[[int], Iterator[dict]],
        evaluation_batches: Callable[[str], Iterator[dict]],
        raw_views: Callable[[jax.Array, dict], tuple[jax.Array, ...]],
        num_classes: int,
    ):
        """Keeps what the probes are made from.

        Args:
          config: checked.
          functions: `byol.Functions` of the run.
          train_batches, evaluation_batches: of the run's `Experiment`.
          raw_views: `(key, batch) -> (v1, v2)`, float in 0 .. 1.
          num_classes: of the data set.
        """
        self._config = config
        self._functions = functions
        self._train_batches = train_batches
        self._evaluation_batches = evaluation_batches
        self._raw_views = raw_views
        self._num_classes = num_classes
        self._programs = functools.lru_cache(maxsize=2)(self._make_programs)

    def _make_programs(self, mesh: Mesh) -> tuple[Callable, Callable]:
        """(features of an evaluation batch, embeddings of a training batch), of all devices."""
        gather = functools.partial(jax.lax.all_gather, axis_name=DATA, tiled=True)

        def features(state, batch):
            found = self._functions.features(state, batch["image"])
            return gather((found, batch["label"], batch["mask"]))

        def embed(state, batch):
            pair = self._functions.embed(state, batch, self._key())
            halves = [half for values in pair for half in jnp.split(values, 2)]
            return gather((*halves, batch["label"]))

        return tuple(map_over_devices(function, mesh, (REPLICATED, SHARDED), REPLICATED)
                     for function in (features, embed))

    def _key(self) -> jax.Array:
        """The same random views at every evaluation."""
        return jax.random.fold_in(jax.random.key(self._config["seed"]), 2**31 - 1)

    def features(self, state: Any, batches: Iterable[dict], mesh: Mesh, most: int | None = None):
        """Features [N, F] and labels [N] of the first `most` examples, on the host."""
        program, _ = self._programs(mesh)
        size = self._config["evaluation_batch_size"]
        batches = itertools.islice(batches, None if most is None else -(-most // size))
        rows, labels = [], []
        for batch in prefetch_to_device(iter(batches), sharding(mesh, SHARDED)):
            found, label, mask = jax.device_get(program(state, batch))
            rows.append(found[mask > 0])
            labels.append(label[mask > 0])
        return np.concatenate(rows)[:most], np.concatenate(labels)[:most]

    def embeddings(self, state: Any, mesh: Mesh) -> list[np.ndarray]:
        """Features and projections of view 1 and view 2 of the first training images, and labels.

        In the order features 1, features 2, projections 1, projections 2, labels; in training
        mode, so that they are what the loss sees.
        """
        _, program = self._programs(mesh)
        most = self._config["probe"]["num_views"]
        count = -(-most // self._config["batch_size"])
        batches = prefetch_to_device(
            itertools.islice(self._train_batches(0), count), sharding(mesh, SHARDED))
        parts = [jax.device_get(program(state, batch)) for batch in batches]
        return [np.concatenate(values)[:most] for values in zip(*parts, strict=True)]

    def measure(self, state: Any, means: dict, split: str, mesh: Mesh) -> Measurement:
        """k-NN and ridge accuracy of the features, and the signs of collapse."""
        del means
        probe = self._config["probe"]
        bank, bank_labels = self.features(
            state, self._evaluation_batches(self._config["dataset"]["train_split"]), mesh,
            probe["bank_size"])
        queries, labels = self.features(state, self._evaluation_batches(split), mesh)
        found = {
            "knn_accuracy": neighbours.knn_accuracy(
                bank, bank_labels, queries, labels, self._num_classes,
                k=min(probe["neighbours"], len(bank)), temperature=probe["temperature"]),
            "ridge_accuracy": neighbours.ridge_accuracy(
                bank, bank_labels, queries, labels, self._num_classes,
                regularization=probe["regularization"]),
        }
        y1, y2, z1, z2, _ = self.embeddings(state, mesh)
        found |= embeddings.describe(y1, z1, y2, z2)
        if state.target_params:
            online = {name: state.params[name] for name in state.target_params}
            found["target_distance"] = embeddings.tree_distance(online, state.target_params)
        metrics = {name: float(value) for name, value in found.items()}
        return Measurement(metrics, embeddings.verdict(metrics))

    def draw_views(self, state: Any, path: str) -> dict[str, np.ndarray] | None:
        """Draws both views of the first images; they do not change, so only at the start."""
        if int(state.step):
            return None
        batch = {name: values[:_NUM_SHOWN] for name, values in next(self._train_batches(0)).items()}
        first, second = (np.asarray(view) for view in self._raw_views(self._key(), batch))
        originals = batch["image"]
        if originals.ndim == 5:  # cropped on the host
            originals = originals[:, 0]
        views_report.plot(originals, first, second, path)
        return {"view_1": first, "view_2": second}

    def draw_embeddings(self, state: Any, path: str) -> dict[str, np.ndarray]:
        """Draws the spectra, the spread and the plane of the largest variance."""
        mesh = make_mesh(devices=jax.local_devices()[:1])
        y1, y2, z1, z2, labels = self.embeddings(state, mesh)
        described = {k: float(v) for k, v in embeddings.describe(y1, z1, y2, z2).items()}
        embeddings_report.plot(
            y1, z1, path, f"{self._config['network']['name']}, step {int(state.step)}",
            verdict=embeddings.verdict(described), labels=labels)
        return {"features": y1, "projections": z1}
