"""The figures of the report: in which part each stands, what is said of it, and the picture itself.

A figure is named ``{kind}``, ``{kind}-{subject}`` or ``{kind}-{subject}.{policy}``: the subject is a dataset, an attack
or a family. What is said comes from the data drawn, which lies beside it as CSV.
"""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from PIL import Image

from withstand.report.formats import Names, capital, counted, given, listed, number, share, words
from withstand.report.sentences import tally

ROOM = 3_000_000
"""Bytes that all figures of a page may take, if less detail can help it."""

QUALITY = 82
"""Of pictures as WebP."""

TELLING = ("accuracy", "worst", "shape_bias", "fooled", "border_ratio", "cka", "distance_share", "ece")
"""Metrics whose range a text alternative tells, before others that are drawn with them."""

MOST_NAMED = 8
"""Models that a text alternative names one by one."""


@dataclass(frozen=True)
class Detail:
    """Bytes of a drawing that is shown as such, and pixels of the width of pictures: of larger drawings, and of figures
    with photographs."""

    largest: int
    widest: int


DETAILS = (Detail(120_000, 1600), Detail(40_000, 1000), Detail(0, 700))
"""From the finest. The largest figures lose detail until all have room."""


@dataclass(frozen=True)
class Kind:
    """What a kind of figure shows: the part of the report, title, caption, and whether it has photographs."""

    part: str
    title: str
    caption: str
    photographs: bool = False


KINDS = {
    "claims": Kind(
        "claims",
        "The claims and their tests",
        "Effects with their intervals, each test beside its claim; no effect is in the middle.",
    ),
    "overview": Kind(
        "overview",
        "Accuracy on every set, by pre-training data",
        "Top-1 accuracy on clean, corrupted and shifted images. Models are grouped by what they were trained on, from"
        " the smallest set, and joined within a family from its smallest model.",
    ),
    "samples": Kind("images", "The first images", "A column is a class; for cue conflict, that of the shape.", True),
    "accuracy_by_severity": Kind(
        "corruptions",
        "Accuracy by severity of each corruption",
        "Top-1 accuracy against severity; 0 is the clean image. The last panel is the mean over corruptions.",
    ),
    "clean_against_corrupted": Kind(
        "corruptions",
        "Clean against corrupted",
        "Top-1 accuracy on clean images against the mean over all corruptions and severities. On the dashed diagonal"
        " nothing would be lost.",
    ),
    "corruptions": Kind(
        "corruptions",
        "One image under every corruption",
        "Rows are corruptions, columns severities, with the constants for the nearest known size of images.",
        True,
    ),
    "held_out": Kind(
        "shift",
        "Accuracy on the clean images of every set",
        "Filled: top-1 over all outputs. Hollow, for sets that have only some of the classes: over those.",
    ),
    "scaling": Kind(
        "sizes",
        "Error against size",
        "Error against the number of parameters, both logarithmic; lines are fitted to families of three sizes.",
    ),
    "attacks": Kind(
        "attacks",
        "Accuracy under adversarial perturbations",
        "Hollow: the same images without perturbations; filled: with them. Where an attack takes several steps, beside"
        " it: the share of images on which it has not succeeded so far.",
    ),
    "perturbations": Kind(
        "attacks",
        "Perturbations",
        "Their mean size at each pixel, with ticks at the borders of a model's patches, and those of two images.",
        True,
    ),
    "patch_alignment": Kind(
        "attacks",
        "Where perturbations are large",
        "Steps across borders of patches over those inside; size at pixels that touch a border over that elsewhere; and"
        " size on the object over that beside it.",
    ),
    "transfer": Kind(
        "attacks",
        "Transfer of perturbations",
        "Perturbations made for one model (rows) and shown to another (columns): the share of images that the model"
        " shown gets right without, and wrong with them.",
    ),
    "spatial": Kind(
        "spatial",
        "Accuracy under rotation and translation",
        "Of the image as it is, on average over a grid of transformations, of the worst of some drawn at random, and of"
        " the worst of the grid.",
    ),
    "spatial_landscape": Kind(
        "spatial",
        "Which transformations hurt",
        "Accuracy by rotation and by translation, and how often a translation is that of the worst transformation.",
    ),
    "shape_bias": Kind(
        "texture",
        "Shape or texture",
        "Images have the shape of one class and the texture of another. Left: shares of all images for which a model"
        " names the one or the other. Right: the share of shape among those answers (shape bias).",
    ),
    "layer_correlation": Kind(
        "inside",
        "Correlation of layers",
        "Pearson correlation of the activations after any two blocks of a model: all tokens, and the class token, or"
        " the mean over positions where there is none.",
    ),
    "layer_similarity": Kind(
        "inside",
        "Similarity of layers",
        "Linear CKA of the activations after any two blocks of a model: all tokens, and the class token, or the mean"
        " over positions where there is none.",
    ),
    "model_similarity": Kind(
        "inside",
        "Similarity of models",
        "Linear CKA of the activations, all tokens, after every block of one model with those of another.",
    ),
    "lesion_single": Kind(
        "inside",
        "Without one block",
        "Top-1 accuracy without one block, one MLP or one attention, removed at inference.",
    ),
    "lesion_several": Kind(
        "inside",
        "Without several blocks",
        "Top-1 accuracy against the number of blocks, MLPs or attentions removed at random: means over choices, their"
        " standard error and range.",
    ),
    "attention_limit": Kind(
        "inside",
        "With limited attention",
        "Top-1 accuracy where patches attend within a distance only, beside random masks of as many pairs; and where"
        " they attend to the class token alone in the first or in the last blocks.",
    ),
    "attention_distance": Kind(
        "inside", "How far attention looks", "Mean distance from a patch to where it attends, for every head and block."
    ),
    "calibration": Kind(
        "calibration",
        "Calibration",
        "How far confidence is from accuracy, and losses of the probabilities. Filled: clean images; hollow: over all"
        " corruptions. Less is better.",
    ),
    "comparisons": Kind(
        "comparisons",
        "Every model against every other",
        "Accuracy of the model of a row minus that of a column, on the same images.",
    ),
    "disagreements": Kind(
        "disagreements",
        "Images on which models disagree",
        "Images that one model gets right and another wrong, and what the wrong one takes them for.",
        True,
    ),
    "reproduction": Kind(
        "reproduction",
        "Measured and published",
        "Values measured here against published ones, a panel for each experiment. Points on the diagonal are"
        " reproduced; hollow ones were published under another protocol.",
    ),
}
"""By kind, in the order of the report. A figure of another kind is shown at the end, by its name."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it. ``uri`` holds it whole, ``data`` is where its data lie, seen from the page."""

    name: str
    part: str
    title: str
    caption: str
    alternative: str
    uri: str
    width: int
    height: int
    data: str


def kind_of(name: str) -> tuple[str, str, str]:
    """Kind, subject and policy in a figure's name."""
    name, _, policy = name.partition(".")
    kind, _, subject = name.partition("-")
    return kind, subject, policy


def pictures(paths: Sequence[Path], names: Names, page: Path) -> tuple[list[Picture], list[str]]:
    """Figures in the order of the report; and the names of those that have nothing to show."""
    stems = sorted(dict.fromkeys(path.with_suffix("") for path in paths), key=lambda stem: _place(stem, names))
    data = {stem: _read(stem.with_name(f"{stem.name}.csv")) for stem in stems}
    shown = [stem for stem in stems if not data[stem].empty]
    made = [_picture(stem, data[stem], names, page) for stem in shown]
    return _fitted(made, shown), [stem.name for stem in stems if data[stem].empty]


def _place(stem: Path, names: Names) -> tuple[int, int]:
    """Where a figure stands: by its kind, then by its dataset."""
    kind, subject, _ = kind_of(stem.name)
    kinds, datasets = list(KINDS), ["", *names.datasets]
    return (
        kinds.index(kind) if kind in KINDS else len(kinds),
        datasets.index(subject) if subject in datasets else len(datasets),
    )


def _fitted(made: Sequence[Picture], stems: Sequence[Path]) -> list[Picture]:
    """The same figures with less detail of the largest ones, as far as needed."""
    made, levels = list(made), [0] * len(made)
    while sum(len(picture.uri) for picture in made) > ROOM:
        left = [index for index, level in enumerate(levels) if level < len(DETAILS) - 1]
        if not left:
            break
        index = max(left, key=lambda each: len(made[each].uri))
        levels[index] += 1
        uri, *_ = embedded(*_drawn(stems[index]), DETAILS[levels[index]])
        made[index] = replace(made[index], uri=min(made[index].uri, uri, key=len))
    return made


def _drawn(stem: Path) -> tuple[Path, Path, bool]:
    """A figure's drawing and picture, and whether it has photographs."""
    kind = KINDS.get(kind_of(stem.name)[0])
    svg, png = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png"))
    return svg, png, kind is not None and kind.photographs


def _picture(stem: Path, data: pd.DataFrame, names: Names, page: Path) -> Picture:
    csv = stem.with_name(f"{stem.name}.csv")
    kind, subject, policy = kind_of(stem.name)
    about = KINDS.get(kind) or Kind("other", capital(words(kind)), "")
    of = ", ".join(part for part in (_subject(subject, names), words(policy)) if part)
    uri, width, height = embedded(*_drawn(stem), DETAILS[0])
    title = f"{about.title}: {of}" if of else about.title
    return Picture(
        name=stem.name,
        part=about.part,
        title=title,
        caption=" ".join(part for part in (about.caption, in_numbers(data)) if part),
        alternative=alternative(title, data, names),
        uri=uri,
        width=width,
        height=height,
        data=f"{csv.parent.name}/{csv.name}" if csv.parent.parent == page.parent else csv.name,
    )


def in_numbers(data: pd.DataFrame) -> str:
    """How many images are behind what is drawn, and what its intervals are."""
    count = data["images"] if "images" in data else data["n"] if "n" in data else pd.Series(dtype=float)
    count = count.dropna().astype(int)
    if count.empty or "sample_id" in data or "claim" in data:
        return ""
    images = counted(count.min(), "image")
    if count.min() != count.max():
        images = f"{count.min():,} to {counted(count.max(), 'image')}"
    return f"{images}; intervals are 95%." if "low" in data else f"{images}."


def alternative(title: str, data: pd.DataFrame, names: Names) -> str:
    """What a figure shows, for those who do not see it: models, and the lowest and highest value with its place."""
    parts = [title]
    if "sample_id" in data:
        classes = data["class"].dropna().unique() if "class" in data else ()
        of = f" of {listed(list(classes[:12]))}" if 0 < len(classes) <= 12 else ""
        parts.append(f"{counted(data['sample_id'].nunique(), 'image')}{of}")
    if "claim" in data:
        parts.append(tally(data))
    models = names.in_order(data) if "model" in data else _pair(data)
    if models:
        named = listed(names.model(model) for model in models) if len(models) <= MOST_NAMED else ""
        parts.append(counted(len(models), "model") + (f": {named}" if named else ""))
    values = _values(data)
    if values is not None:
        text = share if values.between(0, 1.0001).all() and not _are_correlations(data) else number
        low, high = (
            f"{text(values[index])}{_where(data.loc[index].to_dict(), names)}"
            for index in (values.idxmin(), values.idxmax())
        )
        parts.append(f"Values from {low} to {high}")
    return ". ".join(part.rstrip(".") for part in parts) + "."


def _values(data: pd.DataFrame) -> pd.Series | None:
    """The values drawn, of one metric where there are several."""
    column = next((name for name in ("error", "corrupted_value", "value") if name in data), None)
    if column is None:
        return None
    if "metric" in data:
        metrics = list(data["metric"].unique())
        data = data[data["metric"] == next((metric for metric in TELLING if metric in metrics), metrics[0])]
    values = pd.to_numeric(data[column], errors="coerce").dropna()
    return None if values.empty else values


def _pair(data: pd.DataFrame) -> list[str]:
    """The models of a figure of disagreements, which one is right and another not."""
    columns = [data[name] for name in ("right", "other") if name in data]
    return list(dict.fromkeys(pd.concat(columns).dropna())) if columns else []


def _are_correlations(data: pd.DataFrame) -> bool:
    return "metric" in data and data["metric"].str.contains("cka|pearson").any()


def _where(row: Mapping, names: Names) -> str:
    """Model, set and condition of a row, in parentheses."""
    parts = [names.model(row["model"])] if given(row.get("model")) else []
    parts += [names.dataset(row["dataset"])] if given(row.get("dataset")) else []
    parts += [words(str(row[key])) for key in ("attack", "condition", "corruption") if given(row.get(key))]
    parts = [part for part in parts if part != "clean"]
    if given(row.get("severity")) and row["severity"] > 0:
        parts.append(f"severity {row['severity']:.0f}")
    return f" ({', '.join(parts)})" if parts else ""


def _subject(subject: str, names: Names) -> str:
    """A dataset by its name, anything else in words."""
    found = [name for name in names.datasets if subject == name or subject.startswith(f"{name}-")]
    if not found:
        return words(subject.replace("-", ", "))
    dataset = max(found, key=len)
    rest = [names.models.get(part) or words(part) for part in subject[len(dataset) + 1 :].split("-") if part]
    return ", ".join((names.dataset(dataset), *rest))


TEXT = (
    *("model", "other_model", "source", "source_model", "right", "other", "models", "architecture", "weights"),
    *("dataset", "family", "image_family", "source_family", "corruption", "condition", "sample_id", "class", "texture"),
    *("label_mode", "policy", "metric", "label_space", "precision", "pretraining_dataset", "weights_sha256"),
    *("attack", "norm", "eps", "step_size", "target", "padding", "interpolation", "part", "design", "arm", "tokens"),
    *("claim", "section", "statement", "subject", "outcome", "unit", "reason", "criterion", "reference", "group"),
    *("experiment", "setting", "protocol", "sample", "test", "summary", "other_summary", "kind", "inferred", "same_as"),
)
"""Columns of figures' data that are text, whatever stands in them: names of digits, or nothing at all."""


def _read(csv: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(csv, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=[""])
    except (pd.errors.EmptyDataError, FileNotFoundError):
        return pd.DataFrame()


# ---- pictures


def embedded(svg: Path, png: Path, photographs: bool, detail: Detail) -> tuple[str, int, int]:
    """A figure as a data URI, its width and height in CSS pixels.

    It is the drawing, where that is small, else its picture: with a loss that is hardly seen, or without, where that is
    smaller, as of noise and of few colours.
    """
    if not photographs and svg.exists():
        text = slim(svg.read_text(encoding="utf-8"))
        if len(text) <= detail.largest:
            width, height = (
                round(float(size) * 96 / 72) for size in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2]
            )
            return _uri("image/svg+xml", text.encode()), width, height
    with Image.open(png) as picture:
        found = picture.convert("RGB")
    dots = picture.info.get("dpi", (96, 96))[0]
    width, height = (round(size * 96 / dots) for size in found.size)
    if found.width > detail.widest:
        size = (detail.widest, round(detail.widest * found.height / found.width))
        found = found.resize(size, Image.Resampling.LANCZOS)  # which makes more colours than PNG is good for
        return _uri("image/webp", _encoded(found, "WEBP", quality=QUALITY, method=3)), width, height
    candidates = [("image/webp", _encoded(found, "WEBP", quality=QUALITY, method=3))]
    if photographs:
        candidates.append(("image/webp", _encoded(found, "WEBP", lossless=True, quality=20, method=1)))
    else:
        few = found.quantize(256, dither=Image.Dither.NONE)
        candidates.append(("image/png", _encoded(few, "PNG", optimize=True)))
    return _uri(*min(candidates, key=lambda candidate: len(candidate[1]))), width, height


def slim(svg: str) -> str:
    """A drawing of matplotlib without metadata, with coordinates to a hundredth of a point, and with fonts that
    other machines have."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<!DOCTYPE.*?>|<\?xml.*?\?>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(?:d|points|transform|x|y|width|height)="[^"]*"', _rounded, svg)
    svg = re.sub(r">\s+<", "><", svg)
    return svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif").strip()


def _rounded(attribute: re.Match) -> str:
    text = re.sub(r"(\.\d\d)\d+", r"\1", attribute.group())
    return re.sub(r"\s*\n\s*", " ", text)


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
