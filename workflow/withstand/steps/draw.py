"""Tables and images to figures: SVG, PNG, and the exact data drawn beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pandas as pd

from withstand.figures.style import Style, figure_style, nothing, save, words
from withstand.files import write_text
from withstand.images import ImageFile
from withstand.metrics.trends import CLEAN_POLICIES
from withstand.parquet import read_frame, read_results


def draw_table(
    kind: str,
    table: Path,
    models: Path,
    datasets: Sequence[str],
    style: Mapping,
    *,
    svg: Path,
    png: Path,
    data: Path,
    policy: str | None = None,
    attack: str | None = None,
    family: str | None = None,
    reproduction: Path | None = None,
) -> None:
    """Draw a figure of some datasets' rows of a table, of all where none is named.

    Args:
        kind: a module of :mod:`withstand.figures` with ``select`` and ``draw``.
        policy: the transform policy whose rows are drawn, with the clean images to compare with; None for any.
        attack: the attack whose rows are drawn; None for any.
        family: the family of images whose rows are drawn; None for any.
        reproduction: the table of published values, which figures with ``with_published`` show beside those measured.

    Rows without a value are not drawn. Where no model has the results that a figure shows, it says so.
    """
    rows = read_results(table)
    if datasets:
        rows = rows[rows["dataset"].isin(datasets)]
    if policy is not None:
        rows = rows[(rows["policy"] == policy) | _compared_with(rows, policy)]
    if attack is not None:
        rows = rows[rows["attack"] == attack]
    if family is not None:
        rows = rows[rows["family"] == family]
    module = import_module(f"withstand.figures.{kind}")
    about = read_frame(models)
    drawn = rows if rows.empty else module.select(rows, about)
    if reproduction is not None and not drawn.empty:
        drawn = module.with_published(drawn, read_frame(reproduction), about)
    with figure_style():
        if drawn.empty:
            where = f" on {', '.join(datasets)}" if datasets else ""
            figure = nothing(f"No model has the results{where} that {words(kind)} shows.")
        else:
            figure = module.draw(drawn, Style(**style))
        save(figure, svg, png, Style(**style).dpi)
    write_text(data, drawn.to_csv(index=False))


def _compared_with(rows: pd.DataFrame, policy: str) -> pd.Series:
    """Which rows are of the clean images that those under a policy are compared with, if it has none of its own."""
    column = next((name for name in ("corruption", "family") if name in rows), None)
    clean = rows[column] == "clean" if column else pd.Series(False, index=rows.index)
    own = clean & (rows["policy"] == policy)
    return clean & rows["policy"].isin(CLEAN_POLICIES) & ~rows["dataset"].isin(rows.loc[own, "dataset"])


def draw_perturbations(
    files: Sequence[Path], table: Path, models: Path, style: Mapping, *, svg: Path, png: Path, data: Path
) -> None:
    """Draw the perturbations of one attack on several models; models that could not be attacked are left out.

    Args:
        files: one a model.
        table: where perturbations are large, which knows models' patches.
    """
    from withstand.figures import perturbations
    from withstand.perturbations import PerturbationFile

    with ExitStack() as stack:
        opened = [stack.enter_context(PerturbationFile(path)) for path in files]
        drawn = perturbations.select(opened, read_frame(table), read_frame(models))
        with figure_style():
            figure = perturbations.draw(drawn, Style(**style)) if drawn else nothing("No model could be attacked.")
            save(figure, svg, png, Style(**style).dpi)
        write_text(data, perturbations.table(drawn).to_csv(index=False))


def draw_samples(images: Path, style: Mapping, *, svg: Path, png: Path, data: Path) -> None:
    """Draw the first images of a file of clean images, a column a class."""
    from withstand.figures import samples

    with ImageFile(images) as file:
        drawn, pixels = samples.select(file)
    with figure_style():
        save(samples.draw(drawn, pixels, Style(**style)), svg, png, Style(**style).dpi)
    write_text(data, drawn.to_csv(index=False))


def draw_corruptions(
    images: Path, plan: Sequence[Mapping], seed: int, style: Mapping, *, svg: Path, png: Path, data: Path
) -> None:
    """Draw the first image of a file of clean images under every corruption of a plan."""
    from withstand.figures import corruptions
    from withstand.shards import CorruptedShard

    with ImageFile(images) as clean:
        drawn, pixels = corruptions.select(CorruptedShard(clean, plan, seed=seed, codec="raw", with_clean=True))
    with figure_style():
        save(corruptions.draw(drawn, pixels, Style(**style)), svg, png, Style(**style).dpi)
    write_text(data, drawn.to_csv(index=False))
