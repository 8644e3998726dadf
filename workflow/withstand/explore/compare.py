"""What differs beyond chance: between two models of a study, or between two studies.

Accuracies are compared on the same images, as far as ``tables/images`` says how each was answered: clean images by the
exact test of McNemar, corrupted ones by a paired test of the share of severities under which each image was right.
Other values are compared by their intervals (MOVER; Zou and Donner, "Construction of confidence limits about effect
measures: a general approach", Statistics in Medicine 2008), as if they were of different images. Since answers to the
same images go together, that is cautious. All p-values of one comparison are adjusted together (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from tabulate import tabulate

from withstand.errors import nearest
from withstand.explore.headlines import ALL_CORRUPTIONS, KEYS, SHARES, by_corruption, headlines, with_interval
from withstand.explore.headlines import told as headline_text
from withstand.metrics.answers import Answers, read_answers
from withstand.metrics.comparisons import comparison_rows, paired_test
from withstand.metrics.intervals import LEVEL, Z, mover, paired_interval
from withstand.results import Results, ResultsError, models_of

UNPAIRED = "intervals"
"""The test of values whose images are not at hand one by one."""

COMPARED = (
    "shape_bias",
    "calibration",
    "attacks",
    "transfer",
    "spatial",
    "lesions",
    "attention_limit",
    "patch_alignment",
)
"""The tables whose headlines are compared, besides accuracies."""

OF_RIGHT_ANSWERS = ("accuracy", "ece", "brier", "nll")
"""Metrics that suppose one right answer to each image. On cue conflicts, which have two, they are not compared."""

COLUMNS = (
    *("model", *KEYS, "value", "other_value", "difference", "low", "high", "n"),
    *("test", "p", "p_holm"),
)
_METHOD = (
    "Differences have 95% intervals; p is adjusted for all comparisons (Holm). Tests: mcnemar, paired t and signs on\n"
    "the same images; intervals: those of both values, as if their images were different ones, which is cautious."
)


@dataclass(frozen=True)
class Comparison:
    """What two models, or two studies, differ in.

    Attributes:
        names: of the two.
        rows: one for each value that both have, in the columns ``COLUMNS``, the surest difference first; ``difference``
            is that of the first from the second, with its 95% interval; ``model`` is missing between models.
        notes: what cannot be compared, or explains differences, in lines.
    """

    names: tuple[str, str]
    rows: pd.DataFrame
    notes: list[str]

    @property
    def differing(self) -> pd.DataFrame:
        """The rows that differ beyond chance, by the adjusted p-value."""
        return self.rows[self.rows["p_holm"] < 1 - LEVEL]


def compare_models(study: Results, one: str, other: str) -> Comparison:
    """Compare two models of a study.

    Raises:
        ResultsError: if there is no such model.
    """
    known = models_of(study)
    for name in (one, other):
        if name not in known:
            there = f"; there are {', '.join(known)}" if known else ""
            raise ResultsError(f"{study.folder} has no model '{name}'{nearest(name, known)}{there}")
    if one == other:
        raise ResultsError(f"'{one}' is compared with itself; give two models")
    names = (one, other)
    conflicts = _cue_conflicts(study)
    found = _headlines(study, conflicts)
    mine, theirs = (found[found["model"] == name].drop(columns="model") for name in names)
    files = {name: _answers(study, name) for name in names}
    paired = _paired(files, conflicts) or _tabulated(study, *names, conflicts)
    rows = _joined(pd.DataFrame(paired), _unpaired(mine, theirs, KEYS), KEYS)
    return Comparison(names, _adjusted(rows), _only_one_has(names, mine, theirs))


def compare_studies(one: Results, other: Results) -> Comparison:
    """Compare two studies, model by model, by what both have.

    Raises:
        ResultsError: if they are one and the same.
    """
    names = (str(one.folder), str(other.folder))
    if one.folder.resolve() == other.folder.resolve():
        raise ResultsError(f"{one.folder} is compared with itself; give two folders")
    shared = [name for name in models_of(one) if name in models_of(other)]
    conflicts = _cue_conflicts(one, other)
    mine, theirs = (found[found["model"].isin(shared)] for found in (_headlines(s, conflicts) for s in (one, other)))
    paired = []
    for model in shared:
        files = dict(zip(names, (_answers(study, model) for study in (one, other)), strict=True))
        paired += [{"model": model} | row for row in _paired(files, conflicts)]
    rows = _joined(pd.DataFrame(paired), _unpaired(mine, theirs, ("model", *KEYS)), ("model", *KEYS))
    left_out = _other_corruptions(one, other)
    places = rows[["model", "dataset", "policy", "condition"]].itertuples(index=False, name=None)
    notes = [*_setup(one, other), *_only_one_has(names, mine, theirs)]
    if left_out:
        conditions = sorted({condition for *_, condition in left_out})
        notes.append(f"not compared, since corruptions or their severities differ: {_listed(conditions)}")
    return Comparison(names, _adjusted(rows[[place not in left_out for place in places]]), notes)


def told(comparison: Comparison, rows: pd.DataFrame) -> str:
    """A comparison as people read it: notes, some of its rows as a table, and what it rests on."""
    one, other = comparison.names
    always = ("dataset", "condition", "metric", *(("model",) if rows["model"].notna().any() else ()))
    kept = [key for key in ("model", *KEYS) if key in always or rows[key].nunique() > 1]
    shown = rows[kept].assign(
        **{
            one: [_value(row.metric, row.value) for row in rows.itertuples()],
            other: [_value(row.metric, row.other_value) for row in rows.itertuples()],
            "difference": [
                with_interval(row.metric, row.difference, row.low, row.high, signed=True) for row in rows.itertuples()
            ],
            "p": [f"{p:.3f}" if p >= 0.001 else "<0.001" for p in rows["p_holm"]],
            "test": rows["test"],
        }
    )
    everything, differing = len(comparison.rows), len(comparison.differing)
    lines = [f"Note: {note}" for note in comparison.notes]
    if len(shown):
        right = ["right" if name in (one, other) else "left" for name in shown.columns]
        lines += [
            "",
            tabulate(shown.fillna(""), headers="keys", showindex=False, disable_numparse=True, colalign=right),
        ]
    lines += ["", f"{one} and {other} differ beyond chance in {differing} of {everything} values that both have."]
    if everything:
        lines += [_METHOD]
    return "\n".join(lines).strip()


def _value(metric: str, value: float) -> str:
    return headline_text(metric, value) + ("%" if metric in SHARES else "")


def apart(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Differences of independent values from their intervals.

    Args:
        one, other: value, low and high (rows); rows belong together by their order.

    Returns difference, low, high and p (rows). The p-value takes the standard error from the sides of the intervals
    that face each other, so that it is below 0.05 where the interval of the difference does not hold zero.
    """
    ends = [frame[column].to_numpy() for frame in (one, other) for column in ("value", "low", "high")]
    difference = ends[0] - ends[3]
    low, high = mover(*ends)
    facing = np.where(difference > 0, difference - low, high - difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference == 0, 0.0, np.abs(difference) / facing) * Z
    return pd.DataFrame({"difference": difference, "low": low, "high": high, "p": 2 * stats.norm.sf(z)})


def _answers(study: Results, model: str) -> Path:
    return study.folder / "tables" / "images" / f"{model}.parquet"


def _cue_conflicts(*studies: Results) -> set[str]:
    """The datasets whose images have two answers, that of their shape and that of their texture."""
    return {name for study in studies if "shape_bias" in study.tables for name in study.tables["shape_bias"]["dataset"]}


def _headlines(study: Results, conflicts: set[str]) -> pd.DataFrame:
    """What a study's tables say of its models, accuracies by corruption."""
    parts = [headlines(name, study.tables[name]) for name in COMPARED if name in study.tables]
    if "accuracy" in study.tables:
        parts.insert(0, by_corruption(study.tables["accuracy"]))
    found = pd.concat(parts) if parts else headlines("", pd.DataFrame())
    unfit = found["dataset"].isin(conflicts) & found["metric"].isin(OF_RIGHT_ANSWERS)
    return found[~unfit].fillna({"label_mode": "", "policy": ""})


def _paired(files: Mapping[str, Path], conflicts: set[str]) -> list[dict]:
    """Accuracies of two on the same images; none where one's answers are not at hand."""
    if not all(path.is_file() for path in files.values()):
        return []
    rows = []
    for answers in read_answers(files):
        keys = dict(answers.keys)
        if len(answers.models) == 2 and len(answers.ids) > 1 and keys["dataset"] not in conflicts:
            found = _clean(answers) if answers.is_clean else _corrupted(answers)
            rows += [keys | {"metric": "accuracy", "n": len(answers.ids)} | row for row in found]
    return rows


def _clean(answers: Answers) -> Iterator[dict]:
    row = comparison_rows(answers).iloc[0]
    shares = answers.shares().mean(axis=1)
    yield {"condition": "clean", "value": shares[0], "other_value": shares[1], "difference": row["value"]} | {
        key: row[key] for key in ("low", "high", "test", "p")
    }


def _corrupted(answers: Answers) -> Iterator[dict]:
    shares = {name: right / answers.trials[name] for name, right in answers.right.items()}
    for condition, (one, other) in {ALL_CORRUPTIONS: answers.shares(), **shares}.items():
        differences = one - other
        low, high = paired_interval(differences)
        test, p = paired_test(differences)
        yield {"condition": condition, "value": one.mean(), "other_value": other.mean()} | (
            {"difference": differences.mean(), "low": low, "high": high, "test": test, "p": p}
        )


def _tabulated(study: Results, one: str, other: str, conflicts: set[str]) -> list[dict]:
    """The study's own comparison of two models, for results that came without the answers to each image."""
    if not {"comparisons", "accuracy"} <= set(study.tables):
        return []
    table = study.tables["comparisons"]
    table = table[~table["dataset"].isin(conflicts)]
    pair = table[table["model"].isin((one, other)) & table["other_model"].isin((one, other))]
    condition = pair["family"].fillna(ALL_CORRUPTIONS)
    sign = np.where(pair["model"] == one, 1, -1)
    ends = np.sort(np.outer(sign, [1, 1]) * pair[["low", "high"]].to_numpy())
    found = pair.assign(condition=condition, difference=sign * pair["value"], low=ends[:, 0], high=ends[:, 1])
    values = by_corruption(study.tables["accuracy"]).set_index(["model", *KEYS])["value"]
    places = list(found[list(KEYS)].itertuples(index=False, name=None))
    shown = {
        column: [values.get((name, *place)) for place in places]
        for name, column in ((one, "value"), (other, "other_value"))
    }
    return found.assign(**shown).to_dict("records")


def _unpaired(mine: pd.DataFrame, theirs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Values that both have with intervals, compared by these."""
    mine, theirs = (found[found["low"].notna()] for found in (mine, theirs))
    both = mine.merge(theirs, on=list(keys), suffixes=("", "_other"))
    others = both[["value_other", "low_other", "high_other"]].set_axis(["value", "low", "high"], axis=1)
    found = apart(both[["value", "low", "high"]], others)
    named = both[list(keys)].assign(value=both["value"], other_value=both["value_other"], test=UNPAIRED)
    return pd.concat([named, found], axis=1).assign(n=both[["n", "n_other"]].min(axis=1))


def _joined(paired: pd.DataFrame, unpaired: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Comparisons of both kinds; where there is a paired one, it is the one that counts."""
    rows = pd.concat([paired, unpaired] if len(paired) else [unpaired])
    return rows.drop_duplicates(list(keys)).reindex(columns=COLUMNS)


def _adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    if rows.empty:
        return rows
    adjusted = rows.assign(p_holm=multipletests(rows["p"], method="holm")[1], size=-rows["difference"].abs())
    return adjusted.sort_values(["p_holm", "p", "size"], kind="stable", ignore_index=True)[list(COLUMNS)]


def _only_one_has(names: Sequence[str], mine: pd.DataFrame, theirs: pd.DataFrame) -> list[str]:
    """Conditions under which there are values of one only."""
    lines = []
    for name, own, others in ((names[0], mine, theirs), (names[1], theirs, mine)):
        place = ["dataset", "condition"]
        there = set(others[place].itertuples(index=False, name=None))
        alone = [found for found in dict.fromkeys(own[place].itertuples(index=False, name=None)) if found not in there]
        for dataset in dict.fromkeys(dataset for dataset, _ in alone):
            conditions = [condition for found, condition in alone if found == dataset]
            lines.append(f"only {name} has, on {dataset}: {_listed(conditions)}")
    return lines


def _other_corruptions(one: Results, other: Results) -> set[tuple]:
    """What cannot be compared, since severities or corruptions differ: (model, dataset, policy, condition)."""
    mine, theirs = (_severities(study) for study in (one, other))
    found = set()
    for place in mine.keys() & theirs.keys():
        corruptions = mine[place].keys() | theirs[place].keys()
        differing = {name for name in corruptions if mine[place].get(name) != theirs[place].get(name)}
        found |= {(*place, condition) for condition in (differing and {ALL_CORRUPTIONS, *differing})}
    return found


def _severities(study: Results) -> dict[tuple, dict[str, set]]:
    """The severities of each corruption by (model, dataset, policy)."""
    if "accuracy" not in study.tables:
        return {}
    single = study.tables["accuracy"].dropna(subset=["corruption", "severity"])
    found: dict[tuple, dict[str, set]] = {}
    for model, dataset, policy, corruption, severity in single[
        ["model", "dataset", "policy", "corruption", "severity"]
    ].itertuples(index=False, name=None):
        found.setdefault((model, dataset, policy), {}).setdefault(corruption, set()).add(severity)
    return found


def _setup(one: Results, other: Results) -> list[str]:
    """What two studies are made of: models, weights, config and versions that differ."""
    lines = []
    for study, its, others in ((one, models_of(one), models_of(other)), (other, models_of(other), models_of(one))):
        alone = [name for name in its if name not in others]
        lines += [f"only {study.folder} has the models {_listed(alone)}"] if alone else []
    weights = [_weights(study) for study in (one, other)]
    changed = [name for name in weights[0] if name in weights[1] and weights[0][name] != weights[1][name]]
    lines += [f"other weights under the same name: {_listed(changed)}"] if changed else []
    for study in (one, other):
        lines += [] if study.run else [f"{study.folder} has no run.json: its config and versions are not known"]
    if one.run and other.run:
        shared = [name for name in models_of(one) if name in models_of(other)]
        configs = [_flat(_of_models(study.run["config"], shared)) for study in (one, other)]
        versions = [study.run["versions"] | {"Python": study.run["python"]} for study in (one, other)]
        lines += _changes("config", *configs) + _changes("version of", *versions)
        lines += _changes("", *({"commit": study.run["commit"]} for study in (one, other)))
    return lines


def _weights(study: Results) -> dict[str, str]:
    if "models" not in study.tables:
        return {}
    return study.tables["models"].set_index("model")["weights_sha256"].dropna().to_dict()


def _of_models(config: Mapping, models: Sequence[str]) -> dict:
    """A config without the study's name, and with some of its models only."""
    kept = {name: entry for name, entry in config.get("models", {}).items() if name in models}
    return {key: value for key, value in config.items() if key != "study"} | {"models": kept}


def _changes(kind: str, one: Mapping, other: Mapping) -> list[str]:
    keys = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    return [f"{kind} {key}: {one.get(key, 'none')} against {other.get(key, 'none')}".strip() for key in keys]


def _flat(config: object, key: str = "") -> dict[str, object]:
    """A config as values by dotted keys."""
    if not isinstance(config, Mapping):
        return {key: config}
    parts = (_flat(value, f"{key}.{name}" if key else str(name)) for name, value in config.items())
    return {found: value for part in parts for found, value in part.items()}


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
