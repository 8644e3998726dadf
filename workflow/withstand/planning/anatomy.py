"""What planning must know of a model: its size, its work, and which experiments on its inside it allows.

All is counted on torch's ``meta`` device, where shapes are computed and nothing else: no weights are needed, and no
memory is taken.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from withstand import zoo
from withstand.errors import ModelError, NotApplicableError, WithstandError

if TYPE_CHECKING:
    from torch import nn

    from withstand.config import ModelEntry, Study


@dataclass(frozen=True)
class Facts:
    """A model, as far as its cost depends on it.

    Attributes:
        flops: of one image, two a multiply-add.
        values: numbers that its modules write for one image: the traffic with the memory of a device.
        transform: equal for models that resize and crop images of a source alike.
        removable: numbers of the blocks that a lesion may remove.
        saved: by part that a lesion may remove, the share of FLOPs that one of them has on average.
        limits: which limits of attention it allows: ``local``, ``random``, ``class_only``.
        blocks: numbers that each block hands over for one image; none where blocks are not known.
        heads: of all blocks together.
        failure: why the model fails, at its card or when it is built here; then it costs nothing.
    """

    flops: int = 0
    values: int = 0
    parameters: int = 0
    outputs: int = 0
    input_size: int = 0
    transform: str = ""
    removable: tuple[int, ...] = ()
    saved: Mapping[str, float] = field(default_factory=dict)
    limits: frozenset[str] = frozenset()
    blocks: tuple[int, ...] = ()
    heads: int = 0
    failure: str | None = None

    @property
    def depth(self) -> int:
        return len(self.blocks)


def models_of(study: Study, advance=lambda name: None) -> dict[str, Facts]:
    """The facts of every model of a study, by the key under which it stands; of recipes under ``recipes.<id>``.

    Args:
        advance: told the key of each model before it is looked into.
    """
    found: dict[str, Facts] = {}
    known: dict[str, Facts] = {}
    for key, (spec, weights, card) in _wanted(study).items():
        advance(key)
        name = json.dumps([spec, str(weights)], sort_keys=True, default=str)
        if card.get("failure"):
            found[key] = Facts(failure=card["failure"])
            continue
        if name not in known:
            known[name] = look_into(spec, weights)
        found[key] = known[name]
        if found[key].failure and card.get("flops"):  # code that is not at hand here, but was for its card
            found[key] = of_card(card)
    return found


def of_card(card: Mapping) -> Facts:
    """What a model card tells. The inside is guessed: blocks of one size that can all be removed, and, where there is a
    grid of patches, attention that takes masks and half of a block's work."""
    if card.get("failure"):
        return Facts(failure=card["failure"])
    preprocessing, depth = card["preprocessing"], card["depth"] or 0
    saved = dict.fromkeys(("block", "mlp", "attention") if card["grid"] else ("block",), 1 / depth) if depth else {}
    masks = {"local", "random"} | ({"class_only"} if card["prefix_tokens"] else set()) if card["grid"] else set()
    return Facts(
        removable=tuple(range(depth)),
        saved={part: share if part == "block" else share / 2 for part, share in saved.items()},
        limits=frozenset(masks),
        blocks=(0,) * depth,
        flops=card["flops"],
        values=card["flops"] // FLOPS_PER_VALUE,
        parameters=card["parameters"],
        outputs=card["outputs"],
        input_size=preprocessing["input_size"],
        transform=json.dumps(preprocessing, sort_keys=True),
    )


FLOPS_PER_VALUE = 500
"""Of an architecture that cannot be traced; between those of a ResNet-50 (200) and a ViT-B/16 (900)."""


def read_cards(study: Study) -> dict[str, dict]:
    """The model cards that are there, by id."""
    cards = {}
    for model in study.models:
        path = Path("results") / study.study / "models" / f"{model}.json"
        try:
            cards[model] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return cards


def _wanted(study: Study) -> dict[str, tuple[dict, Path | None, dict]]:
    """What models are made of: the slice of the entry, the weights where they say what the model is, and the card."""
    cards = read_cards(study)
    wanted = {}
    for key, entry in study.entries().items():
        card = cards.get(key.removeprefix("models."), {}) if key.startswith("models.") else {}
        wanted[key] = (*_specification(study, entry), card if card.get("source", entry.source) == entry.source else {})
    for name in study.recipes:
        wanted[f"recipes.{name}"] = (_trained(study, name), None, {})
    return wanted


def _specification(study: Study, entry: ModelEntry) -> tuple[dict, Path | None]:
    if entry.zoo is not None:
        return entry.source, zoo.weights(entry.zoo)
    if entry.recipe is not None:
        changed = {"interventions": entry.source["interventions"]} if entry.interventions else {}
        return _trained(study, entry.recipe) | changed, None
    return entry.source, None


def _trained(study: Study, name: str) -> dict:
    """A recipe's model as the entry of a timm model that is not trained yet."""
    recipe = study.recipes[name]
    size = study.image_size(recipe.dataset)
    preprocessing = {"input_size": size, "interpolation": "bilinear", "test_size": False}
    return {"timm": recipe.timm, "kwargs": recipe.kwargs, "preprocessing": preprocessing, "label_space": "own"}


def look_into(spec: Mapping, weights: Path | None) -> Facts:
    """The facts of a model, built without its weights. One that cannot be built has a failure."""
    from withstand import models

    try:
        architecture = models.resolve(spec, weights)
        try:
            return _traced(architecture, spec, "meta")
        except ModelError:  # some code looks at values, and needs real ones
            return _traced(architecture, spec, "cpu")
    except WithstandError as error:
        print(f"not counted: {error}", file=sys.stderr)
        return Facts(failure=str(error))


def _traced(architecture, spec: Mapping, device: str) -> Facts:
    from torch.utils.flop_counter import FlopCounterMode

    from withstand import blocks, interventions, models

    network = models.build(architecture, device)
    if spec.get("interventions"):
        interventions.apply(network, spec["interventions"], architecture.preprocessing.input_size)
    try:
        found = blocks.find(network)
    except NotApplicableError:
        found = []
    written, handed = [], [0] * len(found)
    leaves = [module for module in network.modules() if not list(module.children())]
    handles = [
        module.register_forward_hook(lambda _, __, output: written.append(_numbers(output))) for module in leaves
    ]

    def hand_over(index: int):
        return lambda _, __, output: handed.__setitem__(index, _numbers(output))

    handles += [block.module.register_forward_hook(hand_over(block.index)) for block in found]
    counter = FlopCounterMode(display=False, depth=None)
    try:
        logits = models.pass_one_image(network, architecture, device, counter)
    finally:
        for handle in handles:
            handle.remove()
    flops, size = counter.get_total_flops(), architecture.preprocessing.input_size
    return Facts(
        flops=flops,
        values=sum(written),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        outputs=logits.shape[-1],
        input_size=size,
        transform=json.dumps(models.asdict(architecture.preprocessing), sort_keys=True),
        **(_inside(network, size, found, counter.get_flop_counts(), flops) if found else {}),
        blocks=tuple(handed),
    )


def _numbers(output: object) -> int:
    return output.numel() if hasattr(output, "numel") else 0


def _inside(network: nn.Module, size: int, found: list, counts: Mapping, flops: int) -> dict:
    """What lesions and limits of attention can do to a network."""
    from withstand import blocks, interventions

    removable = blocks.removable(network)
    root = type(network).__name__
    whole = [sum(counts.get(f"{root}.{found[index].path}", {}).values()) for index in removable]
    saved, limits = {}, set()
    for part in interventions.PARTS if removable else ():
        try:
            interventions.Lesion(part, tuple(removable)).swaps(network, size)
        except NotApplicableError:
            continue
        name = {"block": "", "attention": ".attn", "mlp": ".mlp"}[part]
        work = [sum(counts.get(f"{root}.{found[index].path}{name}", {}).values()) for index in removable]
        saved[part] = sum(work or whole) / len(removable) / max(flops, 1)
    tried = {
        "local": interventions.LocalAttention(1),
        "random": interventions.RandomAttention(1, 0),
        "class_only": interventions.PatchToClass(first=0),
    }
    for name, limit in tried.items():
        try:
            limit.swaps(network, size)
            limits.add(name)
        except NotApplicableError:
            continue
    heads = [getattr(getattr(block.module, "attn", None), "num_heads", 0) for block in found]
    return {"removable": tuple(removable), "saved": saved, "limits": frozenset(limits), "heads": sum(heads)}
