"""What attacks leave of a model: rows with 95% intervals, from answers to perturbed images and to the same images
without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from withstand.metrics.intervals import clustered_wilson, skewed_mean_interval, wilson
from withstand.predictions import LABEL_MODES, NEVER

FGSM, PGD = "fgsm", "pgd"


def protocols(rows: pd.DataFrame) -> pd.Series:
    """Which of the paper's attacks the rows of a table are of (Bhojanapalli et al., ICCV 2021, section 3).

    Both are untargeted and bounded in L-infinity: ``fgsm`` is one step of the whole budget from the image itself,
    ``pgd`` takes several steps. All else, AutoAttack among it, is none of them.
    """
    bounded = (rows["norm"] == "linf") & (rows["target"] == "none")
    one_step = (rows["steps"] == 1) & (rows["step_size"] == rows["eps"]) & (rows["random_start"] == False)  # noqa: E712
    found = pd.Series(None, index=rows.index, dtype=object)
    found[bounded & one_step] = FGSM
    found[bounded & (rows["steps"] > 1)] = PGD
    return found


def modes_of(answers: pd.DataFrame) -> list[str]:
    """The label modes of a table of answers."""
    return [mode for mode in LABEL_MODES if f"correct_{mode}" in answers]


def share(hits: np.ndarray) -> dict:
    """Value, interval and number of a share of independent samples: bool (n); no value for none."""
    n = len(hits)
    low, high = wilson(hits.sum(), n) if n else (None, None)
    return {"value": hits.mean() if n else None, "low": low, "high": high, "n": n, "images": n}


def mean(values: np.ndarray) -> dict:
    """Value, interval and number of the mean of independent samples: float (n)."""
    low, high = skewed_mean_interval(values)
    return {"value": values.mean(), "low": low, "high": high, "n": len(values), "images": len(values)}


def before_and_after(clean: pd.DataFrame, answers: pd.DataFrame, mode: str) -> Iterator[dict]:
    """Accuracy without and with a perturbation, and the share of samples right before that are wrong after.

    Args:
        clean, answers: a row a sample, in the same order.
    """
    right_before, right_after = (table[f"correct_{mode}"].to_numpy(dtype=bool) for table in (clean, answers))
    yield {"metric": "clean_accuracy", **share(right_before)}
    yield {"metric": "accuracy", **share(right_after)}
    yield {"metric": "fooled", **share(~right_after[right_before])}


def same_samples(clean: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """The rows of clean images for the samples of other answers, in their order."""
    return clean.set_index("sample_id").loc[answers["sample_id"]].reset_index()


def attack_rows(clean: pd.DataFrame, attacked: pd.DataFrame, steps: int) -> pd.DataFrame:
    """One model under one attack.

    Args:
        clean: predictions on the clean images, of these samples at least.
        attacked: predictions on the perturbed images.
        steps: the attack's number of steps.

    Returns columns label_mode, metric, step, value, low, high, n and images. Metrics: ``clean_accuracy``, ``accuracy``
    and ``fooled`` (see :func:`before_and_after`); ``surviving``, the share that no step up to ``step`` has made the
    model answer as the attack wants; ``reached``, for a targeted attack, the share answered by the target in the end;
    ``clean_loss``, ``loss`` (nats) and ``l2`` (length of the perturbation), means; ``without_gradient``, the share of
    samples whose gradient was zero at the start.
    """
    clean = same_samples(clean, attacked)
    rows = [
        {"label_mode": mode} | row for mode in modes_of(attacked) for row in before_and_after(clean, attacked, mode)
    ]
    fell_at = attacked["fell_at"].to_numpy()
    for step in range(steps + 1):
        standing = (fell_at == NEVER) | (fell_at > step)
        rows.append({"label_mode": "all", "metric": "surviving", "step": step} | share(standing))
    if (attacked["target"] >= 0).any():
        answered = np.array([top[0] for top in attacked["top5_all"]])
        rows.append({"label_mode": "all", "metric": "reached"} | share(answered == attacked["target"].to_numpy()))
    for metric, table in (("clean_loss", clean), ("loss", attacked)):
        rows.append({"label_mode": "all", "metric": metric} | mean(table["loss"].to_numpy(dtype=np.float64)))
    rows.append({"label_mode": "all", "metric": "l2"} | mean(attacked["l2"].to_numpy(dtype=np.float64)))
    rows.append(
        {"label_mode": "all", "metric": "without_gradient"} | share(attacked["without_gradient"].to_numpy(bool))
    )
    return pd.DataFrame(rows)


def doubts(attacks: pd.DataFrame, notes: Mapping, name: Callable[[str], str] = str) -> list[str]:
    """Why results under attacks are doubtful, a line for each model, attack and reason.

    Args:
        attacks, notes: the table of attacks, and its metadata.
        name: gives the name of a model.
    """
    zero = attacks[(attacks["metric"] == "without_gradient") & (attacks["value"] > 0)]
    lines = [
        f"{name(row.model)} under {row.attack} on {row.dataset}: the gradient is zero for {100 * row.value:.0f}% of"
        f" {row.n:,.0f} images, where attacks by gradients say nothing of robustness"
        for row in zero.itertuples()
    ]
    found = notes.get("doubts", ())
    return lines + [f"{name(row['model'])} under {row['attack']} on {row['dataset']}: {row['doubt']}" for row in found]


def transfer_rows(clean: pd.DataFrame, shown: pd.DataFrame) -> pd.DataFrame:
    """One model on the perturbations of others.

    Returns columns source, attack, label_mode, metric, value, low, high, n and images.

    Args:
        clean: the model's predictions on the clean images.
        shown: its answers to perturbed images, with the columns source and attack.
    """
    rows = []
    for (source, attack), answers in shown.groupby(["source", "attack"]):
        before = same_samples(clean, answers)
        rows += [
            {"source": source, "attack": attack, "label_mode": mode} | row
            for mode in modes_of(answers)
            for row in before_and_after(before, answers, mode)
        ]
    return pd.DataFrame(rows)


def spatial_rows(clean: pd.DataFrame, answers: pd.DataFrame, transformations: list[list[float]]) -> pd.DataFrame:
    """One model on rotated and translated images.

    Args:
        clean: predictions on the clean images.
        answers: a row a sample (see :mod:`withstand.steps.attack_spatial`).
        transformations: (angle, shift_x, shift_y) along the lists of answers.

    Returns columns label_mode, metric, angle, shift_x, shift_y, value, low, high, n and images. Metrics:
    ``clean_accuracy``; ``mean``, over the grid, clustered by image; ``worst``, right under every transformation of the
    grid; ``worst_of_draws``, right under every one drawn for the sample; and for each transformation ``accuracy`` and
    ``worst_at``, the share of images that it harms most.
    """
    clean, rows = same_samples(clean, answers), []
    for mode in modes_of(answers):
        correct, drawn = (np.stack(answers[f"{name}_{mode}"].to_list()) for name in ("correct", "drawn_correct"))
        samples, count = correct.shape
        low, high = clustered_wilson(correct.sum(1).astype(np.float64), count)
        pooled = {"value": correct.mean(), "low": low, "high": high, "n": correct.size, "images": samples}
        found = [
            {"metric": "clean_accuracy"} | share(clean[f"correct_{mode}"].to_numpy(dtype=bool)),
            {"metric": "mean"} | pooled,
            {"metric": "worst_of_draws"} | share(drawn.all(1)),
            {"metric": "worst"} | share(correct.all(1)),
        ]
        worst = answers[f"worst_{mode}"].to_numpy()
        for number, (angle, shift_x, shift_y) in enumerate(transformations):
            place = {"angle": angle, "shift_x": shift_x, "shift_y": shift_y}
            found.append({"metric": "accuracy"} | place | share(correct[:, number]))
            found.append({"metric": "worst_at"} | place | share(worst == number))
        rows += [{"label_mode": mode} | row for row in found]
    return pd.DataFrame(rows)
