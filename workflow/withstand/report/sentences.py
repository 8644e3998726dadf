"""What the tables of a study say, in sentences. Each keeps the rows that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from withstand.lineage import RESNET, VIT
from withstand.metrics.attacks import doubts as doubts_of
from withstand.predictions import MAIN_MODES
from withstand.report.formats import (
    Names,
    basis,
    capital,
    counted,
    given,
    interval,
    listed,
    magnitude,
    named,
    number,
    p_value,
    share,
    signed,
    with_interval,
    words,
)

CHANCE = 0.05
"""Differences with a smaller p, adjusted over all pairs, are called differences."""

MOST_NAMED = 6
"""Models that a sentence names one by one."""

OUTCOMES = ("supported", "refuted", "undecided")
UNTESTED = "not tested"
"""What is said of claims that have no effect."""

Tables = Mapping[str, pd.DataFrame]
"""The tables of the study by name; those that it has."""


@dataclass(frozen=True)
class Sentence:
    """A sentence and the rows of the table that it says."""

    text: str
    table: str
    rows: tuple[Mapping, ...]


@dataclass(frozen=True)
class Claim:
    """A claim, and a sentence for each set and subject on which it had one outcome."""

    claim: str
    section: str
    statement: str
    criterion: str
    evidence: tuple[Sentence, ...]


@dataclass(frozen=True)
class Scale:
    """How values are written and compared: 'the most accurate' is the highest or, of errors, the lowest."""

    best: str
    worst: str
    equal: str
    text: Callable[[float], str] = share
    digits: int = 1
    factor: float = 100
    lower_is_better: bool = False

    def value(self, row: Mapping) -> str:
        return with_interval(self.text(row["value"]), interval(row, self.factor, self.digits))


ACCURACY = Scale("the most accurate", "the least", "equally accurate")
SHAPE = Scale("the most led by shape", "the least", "equally led by shape")
CALIBRATION = Scale("the best calibrated", "the worst", "equally calibrated", lower_is_better=True)
CORRUPTION_ERROR = Scale(
    "the best", "the worst", "equal", lambda value: f"{number(value, 1)}%", factor=1, lower_is_better=True
)


# ---- the answer: claims


def claims(table: pd.DataFrame | None, names: Names, margin: float | None = None) -> dict[str, list[Claim]]:
    """The claims by outcome, in the order of the table, those without an effect as not tested; nothing without a table.

    Args:
        margin: the share within which accuracies are called equal, for criteria that speak of it.
    """
    grouped: dict[str, list[Claim]] = {outcome: [] for outcome in (*OUTCOMES, UNTESTED)}
    if table is None:
        return grouped
    found = table.assign(outcome=table["outcome"].where(table["effect"].notna(), UNTESTED))
    for (outcome, claim), rows in found.groupby(["outcome", "claim"], sort=False):
        first = rows.iloc[0]
        evidence = tuple(Sentence(_evidence(row, names), "claims", (row,)) for row in _records(table.loc[rows.index]))
        grouped[outcome].append(
            Claim(claim, str(first["section"]), first["statement"], criterion(first, margin), evidence)
        )
    return grouped


def criterion(row: Mapping, margin: float | None) -> str:
    """How a claim is decided, with the margin where it is spoken of: in points, and of ratios in percent."""
    text = str(row["criterion"]).rstrip(".") if given(row["criterion"]) else ""
    if not given(margin):
        return text
    return text.replace("the margin", f"the margin of {100 * margin:g}{'%' if row['unit'] == 'ratio' else ' points'}")


def verdict(table: pd.DataFrame | None) -> Sentence | None:
    """How many tests of the paper's claims came out how, and how many may by chance; nothing without a table."""
    if table is None or table.empty:
        return None
    tests = int(table["effect"].notna().sum())
    chance = (
        f" At most 5% of tests are decided by chance alone, 2.5% on each side: of these {tests:,}, about"
        f" {number(0.05 * tests, 1)}."
    )
    return Sentence(f"{tally(table)}.{chance if tests > 1 else ''}", "claims", tuple(_records(table)))


def tally(table: pd.DataFrame) -> str:
    """'3 tests of 4 claims: 2 supported, 1 refuted, 0 undecided; 2 claims could not be tested'."""
    tested = table[table["effect"].notna()]
    outcomes = ", ".join(f"{(tested['outcome'] == outcome).sum()} {outcome}" for outcome in OUTCOMES)
    text = f"{counted(len(tested), 'test')} of {counted(table['claim'].nunique(), 'claim')}: {outcomes}"
    untested = table["claim"].nunique() - tested["claim"].nunique()
    return f"{text}; {counted(untested, 'claim')} could not be tested" if untested else text


def _evidence(row: Mapping, names: Names) -> str:
    """Where a claim was tested, with what effect, on how much, and which models."""
    place = [claimed_set(row, names)] if given(row["dataset"]) else []
    place += [claimed_subject(row, names)] if given(row["subject"]) else []
    place += [f"trained on {text}"] if (text := pretraining(row)) else []
    where = capital(", ".join(place))
    reason = str(row["reason"]).rstrip(".") if given(row["reason"]) else ""
    if not given(row["effect"]):
        why = reason or UNTESTED
        return f"{where}: {why}." if where else f"{capital(why)}."
    models = claimed_models(row, names)
    counts_models = row["sample"] == "models"
    rests_on = [counted(row["n"], "model" if counts_models else "image")] if given(row["n"]) else []
    if models and len(models) <= MOST_NAMED and row["models"] != row["subject"]:
        rests_on.append(listed(models))
    elif len(models) > MOST_NAMED and not counts_models:
        rests_on.append(counted(len(models), "model"))
    text = f"{where or 'This study'}: {_effect(row)}" + (f" ({': '.join(rests_on)})" if rests_on else "")
    return f"{text}. {capital(reason)}." if reason else f"{text}."


def _effect(row: Mapping) -> str:
    if row["unit"] == "points":
        return with_interval(f"{signed(row['effect'])} points", interval(row))
    return with_interval(f"{row['unit']} {number(row['effect'])}", interval(row, 1, 2))


def claimed_set(row: Mapping, names: Names) -> str:
    """The set that a claim was tested on."""
    return named(names.dataset(row["dataset"]), row["label_mode"], row["policy"])


def claimed_subject(row: Mapping, names: Names) -> str:
    """What of a set, or which model, a claim was tested on."""
    return names.models.get(row["subject"]) or words(row["subject"])


def pretraining(row: Mapping) -> str:
    """What the models of a row were pre-trained on: 'ImageNet-21k, 14M images'; nothing where it is not known."""
    name, images = row["pretraining_dataset"], row["pretraining_images"]
    size = [f"{magnitude(images)} images"] if given(images) else []
    return ", ".join([name, *size]) if given(name) else ""


def claimed_models(row: Mapping, names: Names) -> list[str]:
    """The models that a claim rests on, by their labels."""
    return [names.model(name.strip()) for name in str(row["models"] or "").split(",") if name.strip()]


# ---- the findings of each part


def overview(tables: Tables, names: Names) -> list[Sentence]:
    """What a reader wants to know first: clean and corrupted images, and on each set the best of two families."""
    return [*_clean(tables, names, corrupted_only=True), *_corrupted(tables, names), *_families(tables, names)]


def corruptions(tables: Tables, names: Names) -> list[Sentence]:
    """The mean over corruptions, and where single corruptions leave the most and the least."""
    found = []
    for (dataset, mode, policy), rows in _protocols(_by_corruption(tables)):
        low, high = (rows.loc[index] for index in (rows["value"].idxmin(), rows["value"].idxmax()))
        text = (
            f"On {named(names.dataset(dataset), mode, policy)}, averaged over severities, accuracy ranges from"
            f" {_at_corruption(low, names)} to {_at_corruption(high, names)} ({basis(low)} each)."
        )
        found.append(Sentence(text, "accuracy", (low.to_dict(), high.to_dict())))
    return [*_corrupted(tables, names), *found]


def shift(tables: Tables, names: Names) -> list[Sentence]:
    """Sets beside the corrupted ones, and models that do better there than their clean accuracy predicts."""
    return [
        *_clean(tables, names, corrupted_only=False),
        *_effective(tables, names),
        *_rank_correlations(tables, names),
    ]


def sizes(tables: Tables, names: Names) -> list[Sentence]:
    """How errors fall with the number of parameters."""
    slopes = _where(tables, "trends", metric="slope")
    found = []
    for (reason,), rows in _reasons(slopes):
        groups = listed(dict.fromkeys(str(group) for group in rows["group"]))
        text = f"Whether errors of {groups} fall with size, this study cannot tell: {reason}."
        found.append(Sentence(text, "trends", tuple(_records(rows))))
    for row in _records(one_answer(slopes[slopes["low"].notna()] if len(slopes) else slopes, tables)):
        group = row["group"] if given(row["group"]) else "all models"
        known = given(row["pretraining_dataset"])
        data = f" trained on {row['pretraining_dataset']}" if known else " (pre-training not stated)"
        verb = "fall" if row["value"] < 0 else "rise" if row["value"] > 0 else "do not change"
        text = (
            f"Errors of {group}{data} {verb} with size on {_images(row, names)}: log-log slope"
            f" {with_interval(number(row['value']), interval(row, 1, 2))} ({_models_and_p(row)})."
        )
        found.append(Sentence(text, "trends", (row,)))
    return found


def attacks(tables: Tables, names: Names) -> list[Sentence]:
    """Accuracy under each attack, with the same images without it."""
    rows = _where(tables, "attacks", metric="accuracy")
    found = []
    for (attack, dataset, mode, policy), group in _groups(rows, ["attack", "dataset", "label_mode", "policy"]):
        subject = f"under {words(attack)} ({attack_in_words(group.iloc[0])}) on {names.dataset(dataset)}"
        found += extremes(group, names, named(subject, mode, policy), "attacks", ACCURACY)
    return found


def doubts(tables: Tables, notes: Mapping[str, Mapping], names: Names) -> list[Sentence]:
    """Attacks whose results say little of a model's robustness, and why."""
    table = tables.get("attacks")
    if table is None:
        return []
    found = doubts_of(table, notes.get("attacks", {}), names.model)
    return [Sentence(f"Doubtful: {line}.", "attacks", ()) for line in found]


def attack_in_words(row: Mapping) -> str:
    """What an attack may do: 'L∞ ≤ 1/255, 8 steps of 1/2040'."""
    parts = [f"{words(row['norm'])} ≤ {row['eps']}"]
    if given(row.get("steps")) and given(row.get("step_size")):
        parts.append(f"{counted(row['steps'], 'step')} of {row['step_size']}")
    if given(row.get("random_start")) and row["random_start"]:
        parts.append("random start")
    if given(row.get("restarts")) and row["restarts"] > 1:
        parts.append(counted(row["restarts"], "restart"))
    if given(row.get("target")) and row["target"] != "none":
        parts.append(f"towards the {words(row['target'])} class")
    return ", ".join(parts)


def spatial(tables: Tables, names: Names) -> list[Sentence]:
    """Accuracy under the worst rotation and translation of the grid."""
    rows = _where(tables, "spatial", metric="worst")
    found = []
    for (dataset, mode, policy), group in _protocols(rows):
        row = group.iloc[0]
        subject = (
            f"under the worst rotation and translation (up to {row['rotation']:g}° and"
            f" {share(row['translation'])} of the side) of {named(names.dataset(dataset), mode, policy)}"
        )
        found += extremes(group, names, subject, "spatial", ACCURACY)
    return found


def texture(tables: Tables, names: Names) -> list[Sentence]:
    """Shape bias: the share of shape among the answers that are shape or texture."""
    rows = _where(tables, "shape_bias", metric="shape_bias")
    found = []
    for (dataset, mode, policy), group in _protocols(rows):
        subject = f"by shape bias on {named(names.dataset(dataset), mode, policy)}"
        found += extremes(group, names, subject, "shape_bias", SHAPE)
    return found


def inside(tables: Tables, names: Names) -> list[Sentence]:
    """The block that a model can spare least, and what limited attention leaves."""
    return [*_lesions(tables, names), *_limits(tables, names)]


def calibration(tables: Tables, names: Names) -> list[Sentence]:
    """Expected calibration error of clean images and of the mean over corruptions."""
    rows = one_answer(_where(tables, "calibration", metric="ece"), tables)
    if rows.empty:
        return []
    rows = rows[(rows["family"] == "clean") | (rows["family"].isna() & rows["severity"].isna())]
    found = []
    for (dataset, mode, policy, clean), group in _groups(
        rows.assign(clean=rows["family"] == "clean"), ["dataset", "label_mode", "policy", "clean"]
    ):
        place = "clean images" if clean else "corruptions"
        subject = f"by expected calibration error on {place} of {named(names.dataset(dataset), mode, policy)}"
        found += extremes(group, names, subject, "calibration", CALIBRATION)
    return found


def corruption_errors(tables: Tables, names: Names) -> list[Sentence]:
    """Mean corruption errors against each reference."""
    rows = _where(tables, "corruption_error", metric=("mce", "relative_mce"))
    if rows.empty:
        return []
    models = set(rows["model"])
    rows = rows[rows["model"] != rows["reference"]]  # which has 100% by definition
    found = []
    keys = ["metric", "reference", "dataset", "label_mode", "policy"]
    for (metric, reference, dataset, mode, policy), group in _groups(rows, keys):
        kind = "relative mCE" if metric == "relative_mce" else "mCE"
        place = named(names.dataset(dataset), mode, policy)
        subject = f"by {kind} against {names.model(reference)} on {place}"
        if reference in models:
            subject = f"of the models other than {names.model(reference)}, by {kind} against it on {place}"
        found += extremes(group, names, subject, "corruption_error", CORRUPTION_ERROR)
        for (reason, none), rows in _reasons(group.assign(none=group["value"].isna()), ["none"]):
            what = "value" if none else "interval"
            against = f"against {names.model(reference)} on {place}"
            text = f"{kind.replace('relative', 'Relative')} {against} has no {what}: {reason}."
            found.append(Sentence(text, "corruption_error", tuple(_records(rows))))
    return found


def comparisons(tables: Tables, names: Names) -> list[Sentence]:
    """How many pairs of models differ beyond chance, for each set."""
    table = one_answer(_where(tables, "comparisons", metric="accuracy"), tables)
    found = []
    if table.empty:
        return found
    keys = ["dataset", "family", "label_mode", "policy"]
    for (dataset, family, mode, policy), rows in _groups(table[table["p_holm"].notna()], keys):
        apart = int((rows["p_holm"] < CHANCE).sum())
        of = f"the {counted(len(rows), 'pair')}" if len(rows) > 1 else "the one pair"
        text = (
            f"Of {of} of models, {apart} {'differs' if apart == 1 else 'differ'} in accuracy on"
            f" {_place(dataset, family, mode, policy, names)} beyond chance (p < {CHANCE:g} after Holm's correction)."
        )
        found.append(Sentence(text, "comparisons", tuple(_records(rows))))
    return found


def reproduction(tables: Tables, names: Names) -> list[Sentence]:
    """How many published values lie in the intervals measured here."""
    table = tables.get("reproduction")
    if table is None or table.empty:
        return []
    found = []
    for same, rows in table.groupby("same_protocol", sort=False):
        agree = int(rows["agrees"].fillna(False).astype(bool).sum())
        protocol = "the same protocol" if same else "another protocol"
        verb = "lies" if agree == 1 else "lie"
        text = f"Of {counted(len(rows), 'value')} published under {protocol}, {agree} {verb} in the intervals measured."
        found.append(Sentence(text, "reproduction", tuple(_records(rows))))
    return found


def failures(tables: Tables, names: Names) -> list[Sentence]:
    """Models that failed, on what, and why."""
    table = tables.get("failures")
    if table is None:
        return []
    found = []
    for (model, reason), rows in table.groupby(["model", "reason"], sort=False, dropna=False):
        places = [
            names.dataset(row["dataset"]) + ("" if row["family"] == "clean" else f", {words(row['family'])}")
            if given(row["dataset"])
            else "all images"
            for row in _records(rows.fillna({"family": "clean"}))
        ]
        text = f"{names.model(model)} failed on {listed(dict.fromkeys(places))}: {str(reason).rstrip('.')}."
        found.append(Sentence(text, "failures", tuple(_records(rows))))
    return found


# ---- how sentences are made


def extremes(rows: pd.DataFrame, names: Names, subject: str, table: str, scale: Scale) -> list[Sentence]:
    """The best and the worst model of rows that have one for each model; nothing without rows."""
    rows = rows[rows["value"].notna()]
    if rows.empty:
        return []
    ascending = rows.sort_values("value", kind="stable", ascending=scale.lower_is_better)
    best = _records(ascending[ascending["value"] == ascending["value"].iloc[0]])
    worst = _records(ascending[ascending["value"] == ascending["value"].iloc[-1]])
    about, about_worst = (f" ({basis(row[0])})" for row in (best, worst))
    start = capital(subject)
    if len(rows) == 1:
        text = f"{start}, {names.model(best[0]['model'])} has {scale.value(best[0])}{about}."
    elif len(best) == len(rows):
        text = f"{start}, all {len(rows)} models are {scale.equal}: {scale.value(best[0])}{about}."
    else:
        leaders, last = (listed(names.model(row["model"]) for row in group) for group in (best, worst))
        verb = "is" if len(best) == 1 else "are"
        between = "" if about == about_worst else about
        text = (
            f"{start}, {leaders} {verb} {scale.best}: {scale.value(best[0])}{between};"
            f" {last} {scale.worst}: {scale.value(worst[0])}{about_worst}."
        )
    return [Sentence(text, table, (*best, *worst))]


def difference(row: Mapping, names: Names, conditions: int | None = None) -> Sentence:
    """One comparison of two models: 'A is 3.2 points [1.0, 5.4] more accurate than B ...'."""
    row = row if not row["value"] < 0 else _swapped(row)
    better, other = names.model(row["model"]), names.model(row["other_model"])
    place = _place(row["dataset"], row["family"], row["label_mode"], row["policy"], names)
    rests_on = [counted(row["images"], "image"), counted(conditions, "condition") if conditions else ""]
    about = f"({', '.join(part for part in (*rests_on, _adjusted(row)) if part)})"
    points = with_interval(f"{signed(row['value']).lstrip('+')} points", interval(row))
    decided = given(row["p_holm"]) and row["p_holm"] < CHANCE
    if row["value"] == 0:
        text = f"{better} and {other} are equally accurate on {place} {about}."
    elif decided:
        text = f"{better} is {points} more accurate than {other} on {place} {about}."
    else:
        text = f"{better} and {other} do not differ beyond chance on {place}: {points} {about}."
    return Sentence(text, "comparisons", (row,))


def _adjusted(row: Mapping) -> str:
    text = p_value(row["p_holm"])
    return f"{text} after Holm's correction" if text else p_value(row["p"])


def _swapped(row: Mapping) -> dict:
    """The same comparison the other way round."""
    turned = {"model": row["other_model"], "other_model": row["model"], "value": -row["value"]}
    turned |= {"low": -row["high"], "high": -row["low"]}
    return {**row, **turned, "only_model": row.get("only_other"), "only_other": row.get("only_model")}


def _clean(tables: Tables, names: Names, *, corrupted_only: bool) -> list[Sentence]:
    """Accuracy on clean images, of the sets that are also corrupted or of the others; not of those with two answers."""
    rows = _where(tables, "accuracy", family="clean", metric="accuracy")
    if rows.empty:
        return []
    corrupted = set(_pooled(tables)["dataset"])
    rows = rows[rows["dataset"].isin(corrupted) == corrupted_only]
    found = []
    for (dataset, mode, policy), group in _protocols(one_answer(rows, tables)):
        images = "the clean images of " if corrupted_only else ""
        subject = f"on {images}{named(names.dataset(dataset), mode, policy)}"
        found += extremes(group, names, subject, "accuracy", ACCURACY)
    return found


def _corrupted(tables: Tables, names: Names) -> list[Sentence]:
    found = []
    for (dataset, mode, policy), group in _protocols(_pooled(tables)):
        subject = f"under the corruptions of {named(names.dataset(dataset), mode, policy)}"
        found += extremes(group, names, subject, "accuracy", ACCURACY)
    return found


def _families(tables: Tables, names: Names) -> list[Sentence]:
    """For each set, over all outputs, the most accurate ViT against the most accurate ResNet; without both, the best
    models of the two best families; of one family, its two best models."""
    table, models = tables.get("comparisons"), tables.get("models")
    if table is None or models is None or table.empty or "accuracy" not in tables:
        return []
    groups = models.set_index("model")[["family", "kind"]]
    found = []
    shifted = _where(tables, "accuracy", family="clean", metric="accuracy")
    shifted = one_answer(shifted[~shifted["dataset"].isin(_pooled(tables)["dataset"])], tables)
    sets = pd.concat([_pooled(tables), shifted])
    for (dataset, mode, policy), rows in _protocols(sets[sets["label_mode"].isin(MAIN_MODES)]):
        ranked = rows.sort_values("value", kind="stable", ascending=False)
        pair = _best_of_two(ranked["model"], groups.reindex(ranked["model"]).set_axis(ranked.index))
        conditions = int(ranked["n"].iloc[0] // ranked["images"].iloc[0])
        chosen = table[(table["dataset"] == dataset) & (table["label_mode"] == mode) & (table["policy"] == policy)]
        chosen = chosen[chosen["value"].notna() & _all_same(chosen["family"], rows["family"].iloc[0])]
        for row in _records(chosen):
            if {row["model"], row["other_model"]} == pair:
                found.append(difference(row, names, conditions if conditions > 1 else None))
    return found


def _best_of_two(ranked: pd.Series, known: pd.DataFrame) -> set[str]:
    """The best models of two families, of models from the best: of ViTs and of ResNets, where there are both.

    Args:
        known: ``family`` and ``kind`` of each model.
    """
    groups = known["kind"] if {VIT, RESNET} <= set(known["kind"]) else known["family"].fillna("other")
    best = ranked[groups.notna() & ~groups.duplicated()] if groups.nunique() > 1 else ranked
    return set(best.head(2))


def _effective(tables: Tables, names: Names) -> list[Sentence]:
    """The models that are the farthest above and below what their clean accuracy predicts, for each set."""
    table = _where(tables, "effective_robustness", metric="effective_robustness")
    rows, found = one_answer(table, tables), []
    for (reason,), without in _reasons(table):
        places = _places(without, names)
        text = f"What accuracy on clean images predicts on {places}, this study cannot tell: {reason}."
        found.append(Sentence(text, "effective_robustness", tuple(_records(without))))
    keys = ["dataset", "family", "reference", "label_mode", "policy"]
    for (dataset, family, reference, mode, policy), group in _groups(rows, keys):
        place = _place(dataset, family, mode, policy, names)
        for row in dict.fromkeys((group["value"].idxmax(), group["value"].idxmin())):
            one = group.loc[row].to_dict()
            beyond = given(one["low"]) and (one["low"] > 0 or one["high"] < 0)
            if not beyond:
                continue
            side = "more" if one["value"] > 0 else "less"
            bounds = interval(one) if one["value"] > 0 else interval({"low": -one["high"], "high": -one["low"]})
            points = with_interval(f"{number(abs(100 * one['value']), 1)} points", bounds)
            text = (
                f"On {place}, {names.model(one['model'])} is {points} {side} accurate than its accuracy on"
                f" {names.dataset(reference)} predicts ({counted(one['images'], 'image')}, line through"
                f" {counted(one['n'], 'model')})."
            )
            found.append(Sentence(text, "effective_robustness", (one,)))
    return found


def _rank_correlations(tables: Tables, names: Names) -> list[Sentence]:
    table, found = _where(tables, "trends", metric="spearman"), []
    for (reason,), rows in _reasons(table):
        text = f"Whether models keep their ranks on {_places(rows, names)}, this study cannot tell: {reason}."
        found.append(Sentence(text, "trends", tuple(_records(rows))))
    for row in _records(one_answer(table, tables)):
        group = f"{row['group']} models" if given(row["group"]) else "models"
        clean = "the reference set" if given(row["family"]) else names.dataset(row["dataset"])
        text = (
            f"Ranks of {group} by accuracy on the clean images of {clean} and on {_images(row, names)}"
            f" correlate by {with_interval(number(row['value']), interval(row, 1, 2))} ({_models_and_p(row)})."
        )
        found.append(Sentence(text, "trends", (row,)))
    return found


def _lesions(tables: Tables, names: Names) -> list[Sentence]:
    rows = _where(tables, "lesions", part="block", design="single", metric="accuracy")
    if rows.empty:
        return []
    intact = _where(tables, "lesions", design="intact", metric="accuracy")
    found = []
    keys = ["model", "dataset", "family", "corruption", "severity", "label_mode", "policy"]
    for key, group in _groups(rows, keys):
        worst = group.loc[group["value"].idxmin()].to_dict()
        same = [row for row in _records(intact) if all(_same(row[name], worst[name]) for name in keys)]
        before = f", of {share(same[0]['value'])} intact" if same else ""
        where = _place(worst["dataset"], worst["family"], worst["label_mode"], worst["policy"], names)
        text = (
            f"{names.model(key[0])} depends most on block {int(worst['block'])}: without it,"
            f" {ACCURACY.value(worst)}{before} on {where} ({basis(worst)})."
        )
        found.append(Sentence(text, "lesions", (worst, *same[:1])))
    return found


def _limits(tables: Tables, names: Names) -> list[Sentence]:
    """The shortest distance of attention at which a mask by distance and a random one differ, and both; the shortest
    distance alone where there are no random masks."""
    rows = _where(tables, "attention_limit", arm=("local", "random"), metric="accuracy")
    if rows.empty:
        return []
    rows = rows[((rows["arm"] == "local") | rows["draw"].isna()) & rows["same_as"].isna()]
    found = []
    for key, group in _groups(rows, ["model", "dataset", "family", "corruption", "severity", "label_mode", "policy"]):
        controlled = group[group["arm"] == "random"]
        shortest = (group if controlled.empty else controlled)["distance"].min()
        arms = {row["arm"]: row for row in _records(group[group["distance"] == shortest])}
        if "local" not in arms:
            continue
        local = arms["local"]
        where = _place(local["dataset"], local["family"], local["label_mode"], local["policy"], names)
        random = f"; with as many pairs masked at random, {ACCURACY.value(arms['random'])}" if "random" in arms else ""
        text = (
            f"With attention within {number(local['distance'], 3).rstrip('0').rstrip('.')} of the grid's side,"
            f" {names.model(key[0])} gets {ACCURACY.value(local)} of {where} right{random}"
            f" ({counted(local['images'], 'image')})."
        )
        found.append(Sentence(text, "attention_limit", tuple(arms.values())))
    return found


# ---- rows


def one_answer(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Rows with a value, of datasets whose images have one right answer: cue conflict has two."""
    if rows.empty:
        return rows
    two_answers = set(tables["shape_bias"]["dataset"]) if "shape_bias" in tables else set()
    return rows[rows["value"].notna() & ~rows["dataset"].isin(two_answers)]


def _where(tables: Tables, name: str, **values: object) -> pd.DataFrame:
    """The rows of a table with given values, or one of several; an empty table where there is none."""
    table = tables.get(name)
    if table is None:
        return pd.DataFrame()
    for column, value in values.items():
        table = table[table[column].isin(value if isinstance(value, tuple) else (value,))]
    return table


def _pooled(tables: Tables) -> pd.DataFrame:
    """The means over corruptions and severities."""
    rows = _where(tables, "accuracy", metric="accuracy")
    if rows.empty:
        return pd.DataFrame(columns=["model", "dataset", "label_mode", "policy", "value", "n", "images"])
    return rows[rows["family"].isna() & rows["corruption"].isna() & rows["severity"].isna()]


def _by_corruption(tables: Tables) -> pd.DataFrame:
    """The means of each corruption over severities."""
    rows = _where(tables, "accuracy", metric="accuracy")
    if rows.empty:
        return rows
    return rows[
        rows["family"].notna() & (rows["family"] != "clean") & rows["corruption"].notna() & rows["severity"].isna()
    ]


def _groups(rows: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[tuple, pd.DataFrame]]:
    if rows.empty:
        return iter(())
    return iter(rows.groupby(list(keys), sort=False, dropna=False))


def _protocols(rows: pd.DataFrame) -> Iterator[tuple[tuple, pd.DataFrame]]:
    return _groups(rows, ["dataset", "label_mode", "policy"])


def _records(rows: pd.DataFrame) -> list[dict]:
    return rows.to_dict("records")


def _reasons(rows: pd.DataFrame, keys: Sequence[str] = ()) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """Rows that lack something, by the reason for it."""
    return _groups(rows[rows["reason"].notna()] if len(rows) else rows, ["reason", *keys])


def _places(rows: pd.DataFrame, names: Names) -> str:
    """The images of rows."""
    return listed(dict.fromkeys(_images(row, names) for row in _records(rows)))


def _all_same(values: pd.Series, value: object) -> pd.Series:
    return values == value if given(value) else values.isna()


def _same(one: object, other: object) -> bool:
    return one == other or (not given(one) and not given(other))


def _place(dataset: str, family: object, mode: object, policy: object, names: Names) -> str:
    """The images of a row: a dataset, one family of its corruptions, or all of them."""
    place = named(names.dataset(dataset), mode, policy)
    if not given(family):
        return f"the corruptions of {place}"
    return place if family == "clean" else f"{words(family)} of {place}"


def _images(row: Mapping, names: Names) -> str:
    return _place(row["dataset"], row["family"], row["label_mode"], row["policy"], names)


def _at_corruption(row: Mapping, names: Names) -> str:
    return f"{ACCURACY.value(row)} ({names.model(row['model'])}, {words(row['corruption'])})"


def _models_and_p(row: Mapping) -> str:
    return ", ".join(part for part in (counted(row["n"], "model"), p_value(row["p"])) if part)
