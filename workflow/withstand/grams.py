"""Files of Gram matrices: how alike a model takes samples for, after each of its blocks.

A group for each corruption and severity, ``<corruption>/<severity>/``:

    /                     attributes: format, facts (JSON)
    sample_ids            strings (minibatch, sample): the same for all models of a study
    layers                strings (layer): the blocks' names among the network's modules
    all_tokens, summary   float32 (layer, minibatch, sample, sample): Gram matrices of activations, centred in each
                          minibatch; ``summary`` is the class token, or the mean over positions where there is none
    pearson/<tokens>/     mean (minibatch, layer), product and per_sample (minibatch, layer, layer), float64: see
                          :class:`withstand.similarity.Moments`; <tokens> is all_tokens or summary
    activations/<layer>   float16 (sample, position, feature), of the first samples, where they were asked for
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch

from withstand import hdf5
from withstand.similarity import Moments

TOKENS = ("all_tokens", "summary")


@contextmanager
def grams_file(output: Path, facts: Mapping) -> Iterator[h5py.File]:
    """A new file of Gram matrices, which appears when the block ends without an error.

    Raises:
        Hdf5Error: if the disk is full or the file cannot be written.
    """
    with hdf5.create(output) as file:
        with hdf5.writing(output):
            file.attrs.update({"format": GramFile.format, "facts": json.dumps(dict(facts), sort_keys=True)})
        yield file


class GramWriter:
    """Writes what minibatches give under one condition, one after the other."""

    def __init__(self, file: h5py.File, path: Path, condition: tuple[str, int, int]) -> None:
        self._path = path
        with hdf5.writing(path):
            self._group = file.create_group(f"{condition[0]}/{condition[1]}")

    def lay_out(self, layers: Sequence[str], sample_ids: Sequence[Sequence[str]]) -> None:
        """Name layers and minibatches, and make room for all."""
        text = h5py.string_dtype()
        depth, count, size = len(layers), len(sample_ids), len(sample_ids[0])
        with hdf5.writing(self._path):
            self._group.create_dataset("sample_ids", data=np.array(sample_ids, dtype=object), dtype=text)
            self._group.create_dataset("layers", data=np.array(layers, dtype=object), dtype=text)
            for tokens in TOKENS:
                shape, chunks = (depth, count, size, size), (depth, 1, size, size)
                self._group.create_dataset(
                    tokens, shape, np.float32, chunks=chunks, compression=hdf5.fast_filter(bits=True)
                )
                for name, shape in (("mean", (depth,)), ("product", (depth, depth)), ("per_sample", (depth, depth))):
                    self._group.create_dataset(f"pearson/{tokens}/{name}", (count, *shape), np.float64)

    def store(self, number: int, result: Mapping) -> None:
        """Gram matrices and moments of a minibatch."""
        hdf5.check_space(self._path, sum(grams.nbytes for grams, _ in result.values()))
        with hdf5.writing(self._path):
            for tokens, (grams, moments) in result.items():
                self._group[tokens][:, number] = grams
                for name in ("mean", "product", "per_sample"):
                    self._group[f"pearson/{tokens}/{name}"][number] = getattr(moments, name)[0]

    def keep(self, layer: str, activations: np.ndarray) -> None:
        """Activations of a layer themselves: float16 (sample, position, feature)."""
        hdf5.check_space(self._path, activations.nbytes)
        with hdf5.writing(self._path):
            self._group.create_dataset(
                f"activations/{layer}",
                data=activations,
                chunks=(1, *activations.shape[1:]),
                compression=hdf5.fast_filter(bits=True),
            )


class GramFile(hdf5.OpenFile):
    """A file of Gram matrices, open for reading."""

    format = "withstand-grams-1"

    @property
    def facts(self) -> dict:
        """What was measured, how, and why not."""
        return self._facts("facts")

    @property
    def conditions(self) -> list[tuple[str, int]]:
        """Corruptions and severities; none where the model failed."""
        return [(corruption, int(severity)) for corruption in self._file for severity in self._part(corruption)]

    def layers(self, condition: tuple[str, int]) -> list[str]:
        """The names of the model's blocks."""
        with hdf5.reading(f"{self.path}: layers"):
            return list(self._group(condition)["layers"].asstr()[()])

    def sample_ids(self, condition: tuple[str, int]) -> np.ndarray:
        """Which samples make a minibatch: strings (minibatches, samples)."""
        with hdf5.reading(f"{self.path}: sample_ids"):
            return self._group(condition)["sample_ids"].asstr()[()]

    def grams(self, condition: tuple[str, int], tokens: str) -> torch.Tensor:
        """Gram matrices float32 (layers, minibatches, n, n)."""
        with hdf5.reading(f"{self.path}: {tokens}"):
            return torch.from_numpy(self._group(condition)[tokens][()])

    def moments(self, condition: tuple[str, int], tokens: str) -> Moments:
        """What correlations are made of."""
        group = self._group(condition)[f"pearson/{tokens}"]
        with hdf5.reading(f"{self.path}: pearson/{tokens}"):
            return Moments(*(group[name][()] for name in ("mean", "product", "per_sample")))

    def _group(self, condition: tuple[str, int]) -> h5py.Group:
        return self._part(f"{condition[0]}/{condition[1]}")
