"""Images on which two models disagree, to a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from withstand.errors import WithstandError
from withstand.figures import disagreements
from withstand.figures.style import Style, figure_style, nothing, save
from withstand.files import write_text
from withstand.images import ImageFile
from withstand.metrics.answers import Answers, read_answers
from withstand.metrics.conditions import modes_of
from withstand.parquet import read_table
from withstand.predictions import read_facts


def draw_disagreements(
    images: Sequence[Path],
    first: Path,
    second: Path,
    first_predictions: Path,
    second_predictions: Path,
    style: Mapping,
    *,
    svg: Path,
    png: Path,
    data: Path,
) -> None:
    """Draw images of a dataset that one of two models gets right and the other wrong.

    Args:
        images: the files of the clean images of the dataset, all shards.
        first, second: how often each model was right on each image (``tables/images/{model}.parquet``).
        first_predictions, second_predictions: the models' predictions on the clean images.

    Where one of them failed, or they disagree on no image, the figure says which.

    Raises:
        WithstandError: if both are the same model.
    """
    facts = [read_facts(path) for path in (first_predictions, second_predictions)]
    names = [each["model"] for each in facts]
    if names[0] == names[1]:
        raise WithstandError(f"{names[0]} cannot disagree with itself: give two models")
    drawn, pixels = None, []
    if not any("failure" in each for each in facts):
        mode = "categories" if "categories" in modes_of(first_predictions) else "all"
        clean, corrupted = _answers(dict(zip(names, (first, second), strict=True)), facts[0], mode)
        answered = {
            name: _named(path, mode) for name, path in zip(names, (first_predictions, second_predictions), strict=True)
        }
        drawn = disagreements.select(clean, corrupted, answered)
    look = Style(**style)
    with figure_style(), ExitStack() as stack:
        if drawn is None or drawn.empty:
            figure = nothing(_why_nothing(facts, look))
        else:
            files = [stack.enter_context(ImageFile(path)) for path in images]
            drawn, pixels = disagreements.pictured(drawn, files)
            figure = disagreements.draw(drawn, pixels, look)
        save(figure, svg, png, look.dpi)
    write_text(data, "" if drawn is None else drawn.to_csv(index=False))


def _why_nothing(facts: Sequence[Mapping], style: Style) -> str:
    """Which models failed; or that they agree."""
    dataset = style.dataset(facts[0]["dataset"])
    failed = [each for each in facts if "failure" in each]
    labels = " and ".join(style.label(each["model"]) for each in failed or facts)
    return f"{labels} failed on {dataset}." if failed else f"There is no image of {dataset} that {labels} disagree on."


def _answers(files: Mapping[str, Path], facts: Mapping, mode: str) -> tuple[Answers, Answers | None]:
    """Both models' answers to the clean images of a dataset, and to its corrupted ones, if any."""
    clean, corrupted = None, None
    for answers in read_answers(files):
        if (answers.keys["dataset"], answers.keys["label_mode"]) == (facts["dataset"], mode):
            if not answers.is_clean:
                corrupted = corrupted or answers
            elif answers.keys["policy"] == facts["policy"]:
                clean = answers
    if clean is None:
        raise WithstandError(f"{', '.join(map(str, files.values()))}: no answers on {facts['dataset']}")
    return clean, corrupted if corrupted and len(corrupted.models) == len(files) else None


def _named(predictions: Path, mode: str) -> dict[str, int]:
    """The class that a model named for each clean image."""
    table = read_table(predictions, columns=["sample_id", f"top5_{mode}"])
    top = table[f"top5_{mode}"].combine_chunks()
    best = top.flatten().to_numpy()[:: top.type.list_size]
    return dict(zip(table["sample_id"].to_pylist(), best.tolist(), strict=True))
