"""Small networks of every family, with random weights that let each branch matter."""

import timm
import torch

from withstand.models import Classifier, Preprocessing

SIZE = 64
FAMILIES = {
    "vit": ("vit_tiny_patch16_224", {"img_size": SIZE, "depth": 4}),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", {"img_size": SIZE, "depth": 4}),
    "clip": ("vit_base_patch16_clip_224", {"img_size": SIZE, "depth": 4, "embed_dim": 64, "num_heads": 4}),
    "dinov2": ("vit_small_patch14_reg4_dinov2", {"img_size": 56, "depth": 4, "embed_dim": 64, "num_heads": 4}),
    "eva": ("eva02_tiny_patch14_224", {"img_size": 56, "depth": 4}),
    "siglip": ("vit_base_patch16_siglip_224", {"img_size": SIZE, "depth": 4, "embed_dim": 64, "num_heads": 4}),
    "beit": ("beit_base_patch16_224", {"img_size": SIZE, "depth": 4, "embed_dim": 64, "num_heads": 4}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": SIZE, "window_size": 4, "embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)},
    ),
    "swinv2": (
        "swinv2_tiny_window8_256",
        {"img_size": SIZE, "window_size": 4, "embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)},
    ),
    "convnext": ("convnext_atto", {"depths": (2, 2, 1, 1), "dims": (16, 32, 48, 64)}),
    "resnet": ("resnet18", {"channels": (16, 32, 48, 64)}),
    "bit": ("resnetv2_50x1_bit", {}),
    "mobile": ("mobilenetv3_small_050", {}),
}
OVER_TOKENS = ("vit", "deit_distilled", "clip", "dinov2", "eva", "siglip")
"""Whose attention takes a mask."""


def small(family: str, seed: int = 0) -> Classifier:
    """A classifier of ten classes in evaluation mode."""
    name, kwargs = FAMILIES[family]
    network = timm.create_model(name, num_classes=10, **kwargs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():  # layer scales of 1e-5 would hide what is behind them
            parameter.add_(0.08 * torch.randn(parameter.shape, generator=generator))
    size = kwargs.get("img_size", SIZE)
    return Classifier(network, Preprocessing(size, (0.5,) * 3, (0.5,) * 3), "shapetex").eval().requires_grad_(False)


def noise(model: Classifier, count: int = 3, seed: int = 1) -> torch.Tensor:
    """Images of the size that a model wants, float (count, 3, height, width)."""
    size = model.preprocessing.input_size
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Payload:
    """Says so where it is unpickled."""

    def __reduce__(self):
        return (print, ("code ran",))
