"""Images on which one model is right and another wrong, and what the wrong one says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from withstand.figures.style import MUTED, Style, choices, footnote
from withstand.images import ImageFile
from withstand.metrics.answers import Answers

COLUMNS = 8
"""Images in a row."""

WIDTH, HEAD = 1.05, 0.42
"""Of an image, and what is above a row, in inches."""

CHARACTERS, LINE = 16, 9.5
"""In a line beneath an image, and its height in points."""


def select(clean: Answers, corrupted: Answers | None, answered: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """The images that two models disagree on most, first those that the first model gets right.

    Images that they disagree on as they are come first, of these the ones on which they disagree under most
    corruptions; if there are fewer than a row of them, images on which they disagree under corruption alone follow.

    Args:
        clean: the answers of both models to the clean images of a dataset.
        corrupted: the same to its corrupted images, if it has any.
        answered: by model, the class that it named for each clean image, by sample id.

    Returns columns dataset, label_mode, policy, right (the model ahead), other, place, sample_id, right_clean,
    other_clean (whether each got the clean image right), right_corrupted, other_corrupted, trials (corrupted copies
    that each got right, of so many), only (clean images that the model ahead alone gets right), images, and
    right_answer and other_answer (classes named for the clean image). Ties are broken by the order of the samples.
    """
    (hits,) = clean.right.values()
    copies, trials = np.zeros_like(hits, dtype=np.int64), 0
    if corrupted is not None:
        clean_place = {sample: number for number, sample in enumerate(clean.ids)}
        shared = [number for number, sample in enumerate(corrupted.ids) if sample in clean_place]
        places = [clean_place[corrupted.ids[number]] for number in shared]
        copies[:, places] = sum(values.astype(np.int64) for values in corrupted.right.values())[:, shared]
        trials = sum(corrupted.trials.values())
    parts = [_ahead(clean, hits, copies, trials, answered, *pair) for pair in ((0, 1), (1, 0))]
    return pd.concat(parts, ignore_index=True)


def _ahead(
    clean: Answers, hits: np.ndarray, copies: np.ndarray, trials: int, answered: Mapping, one: int, other: int
) -> pd.DataFrame:
    """The images on which the model ``one`` is most ahead of the model ``other``."""
    lead, more = hits[one].astype(int) - hits[other], copies[one] - copies[other]
    order = np.lexsort((-more, -lead))
    chosen = order[(lead[order] > 0) | ((lead[order] == 0) & (more[order] > 0))][:COLUMNS]
    right, wrong = clean.models[one], clean.models[other]
    ids = clean.ids[chosen]
    return pd.DataFrame(
        {
            **{key: clean.keys[key] for key in ("dataset", "label_mode", "policy")},
            "right": right,
            "other": wrong,
            "place": range(len(chosen)),
            "sample_id": ids,
            "right_clean": hits[one, chosen] > 0,
            "other_clean": hits[other, chosen] > 0,
            "right_corrupted": copies[one, chosen],
            "other_corrupted": copies[other, chosen],
            "trials": trials,
            "only": int((lead > 0).sum()),
            "images": len(clean.ids),
            "right_answer": np.array([answered[right][sample] for sample in ids], dtype=np.int64),
            "other_answer": np.array([answered[wrong][sample] for sample in ids], dtype=np.int64),
        }
    )


def pictured(data: pd.DataFrame, files: Sequence[ImageFile]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The images chosen, uint8 (h, w, 3), and the table with the names of classes in place of their numbers.

    Args:
        files: the clean images of the dataset, all shards.
    """
    where = {sample: (file, place) for file in files for place, sample in enumerate(file.samples.ids)}
    found = [where[sample] for sample in data["sample_id"]]
    names = files[0].samples.class_names
    data = data.assign(
        **{"class": [names[file.samples.labels[place]] for file, place in found]},
        right_answer=[names[answer] for answer in data["right_answer"]],
        other_answer=[names[answer] for answer in data["other_answer"]],
    )
    return data, [file.read("clean", 0, np.array([place]))[0] for file, place in found]


def draw(data: pd.DataFrame, pixels: Sequence[np.ndarray], style: Style) -> Figure:
    """A row of images for each model that is ahead; beneath, the class, what the other one said, and how both did on
    corrupted copies."""
    rows = list(data.groupby("right", sort=False))
    colors = style.model_colors([*data["right"].unique(), *data["other"].unique()])
    texts = [_text(row, colors) for _, row in data.iterrows()]
    beneath = max(map(len, texts)) * LINE / 72 + 0.05
    height = (HEAD + WIDTH + beneath) * len(rows)
    figure, axes = plt.subplots(len(rows), COLUMNS, figsize=(WIDTH * COLUMNS, height), squeeze=False)
    figure.subplots_adjust(0, beneath / height, 1, 1 - HEAD / height, 0.06, (HEAD + beneath) / WIDTH)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (right, chosen) in zip(axes, rows, strict=True):
        first = chosen.iloc[0]
        title = f"{style.label(right)} is right, {style.label(first['other'])} is wrong"
        line[0].set_title(f"{title}: {first['only']:,} of {first['images']:,} images", loc="left", fontweight="bold")
        for axis, index in zip(line, chosen.index, strict=False):
            axis.imshow(pixels[index], interpolation="nearest")
            _write(axis, texts[index])
    footnote(figure, _note(data, style))
    return figure


def _text(row: pd.Series, colors: Mapping[str, str]) -> list[tuple[str, dict]]:
    """Lines beneath an image, and how they look."""
    lines = [(line, {"fontweight": "bold"}) for line in _lines(row["class"])]
    if row["right_clean"] and not row["other_clean"]:
        lines += [(line, {"color": colors[row["other"]]}) for line in _lines(row["other_answer"])]
    else:
        lines.append((f"as it is, both {'right' if row['right_clean'] else 'wrong'}", {"color": MUTED}))
    if row["trials"]:
        lines.append((f"{row['right_corrupted']} against {row['other_corrupted']}", {"color": MUTED}))
    return lines


def _write(axis: Axes, lines: Sequence[tuple[str, Mapping]]) -> None:
    for number, (text, look) in enumerate(lines):
        place = {"xycoords": "axes fraction", "xytext": (0, -3 - LINE * number), "textcoords": "offset points"}
        axis.annotate(text, (0, 0), va="top", fontsize=7, **place, **look)


def _lines(name: str) -> list[str]:
    """A name of a class in two lines at most; of several names, the first."""
    lines = wrap(name.split(",", maxsplit=1)[0], CHARACTERS, max_lines=2, placeholder="…")
    return lines or [name[:CHARACTERS]]


def _note(data: pd.DataFrame, style: Style) -> str:
    copies = ""
    if data["trials"].max():
        copies = (
            f" and, of {data['trials'].max()} corrupted copies, how many each got right, the one named first before the"
            " other. Images that only one gets right as they are come first, then those with the largest difference"
            " of these numbers"
        )
    return (
        f"{style.dataset(data['dataset'].iloc[0])}; {choices(data)}. Beneath an image: its class, what the wrong model"
        f" said, in its colour{copies}."
    )
