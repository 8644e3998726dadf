"""What timm's names say of a model: its family, what claims count it as, and what it was pre-trained on.

Light: every cluster job asks. Names are those of architectures and tags, never labels or ids of a study.
"""

from __future__ import annotations

import re

from withstand import published, timm_index

VIT, RESNET = "ViT", "ResNet"

_KINDS = {
    **dict.fromkeys(("vision_transformer", "vision_transformer_relpos", "deit", "beit", "eva", "naflexvit"), VIT),
    **dict.fromkeys(("resnet", "resnetv2", "senet"), RESNET),
}
"""Modules of timm whose models are plain vision transformers, or ResNets with one branch a block. Hybrids, windowed and
hierarchical transformers, and ResNets with attention or several branches are neither."""

_RESNETS_OF_BYOBNET = re.compile(r"(?:eca_|se|gc)?resne(?:t|xt)\d")
"""A module of many architectures; CLIP's ResNets are some of them."""

_FAMILIES = {
    **{
        "swin_transformer": "Swin",
        "swin_transformer_v2": "Swin V2",
        "convnext": "ConvNeXt",
        "maxxvit": "MaxViT",
    },
    **{"efficientnet": "EfficientNet", "mobilenetv3": "MobileNet", "mobilevit": "MobileViT", "regnet": "RegNet"},
    **{"vision_transformer_hybrid": "hybrid ViT", "mlp_mixer": "MLP-Mixer", "densenet": "DenseNet", "vgg": "VGG"},
}
"""What models of a module are called; others by the name of the module."""

_UNCLEAR = {"ssld", "indomain"}
"""Parts of tags of models that were trained on more than the tag names."""


def kind_of(architecture: str | None, module: str | None = None) -> str | None:
    """ViT, ResNet, or None for all else.

    Args:
        architecture: timm's name, with or without a tag.
        module: of timm, that the network's class is defined in; asked where timm does not know the name.
    """
    name = (architecture or "").partition(".")[0]
    known = timm_index.modules().get(name, module)
    if known == "byobnet":
        return RESNET if _RESNETS_OF_BYOBNET.match(name) else None
    return _KINDS.get(known)


def family_of(architecture: str) -> str:
    """The group of architectures that a timm name belongs to: its kind, or timm's module."""
    module = timm_index.modules()[architecture.partition(".")[0]]
    return kind_of(architecture) or _FAMILIES.get(module, module.replace("_", " "))


def pretraining_of(name: str) -> dict | None:
    """The largest set that timm's tag names, as ``dataset`` and number of ``images``, if that is known.

    None where the tag names no set, or none for what came before the fine-tuning.

    Args:
        name: timm's, with its tag, e.g. ``vit_base_patch16_224.augreg_in21k_ft_in1k``.
    """
    tag = name.partition(".")[2]
    before, _, after = tag.partition("_ft_")
    if not _sets(before) or _UNCLEAR & set(tag.split("_")):
        return None
    largest = max(_sets(before) + _sets(after), key=lambda row: int(row["images"] or 0))
    return {"dataset": largest["dataset"]} | ({"images": int(largest["images"])} if largest["images"] else {})


def _sets(tag: str) -> list[dict]:
    """The sets that a part of a tag names; of two names for one place, such as ``miil_in21k``, the longer one."""
    named = [row for row in published.pretraining_sets() if f"_{row['tag']}_" in f"_{tag}_"]
    return [row for row in named if not any(row["tag"] in other["tag"].split("_", 1)[1:] for other in named)]
