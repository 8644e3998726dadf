"""Models of a user's own, for tests: `helper_models:<function>`."""

import torch
from torch import nn


class MeanColor(nn.Module):
    """Logits from the mean of the red channel: class k scores -(red - k / 9)**2 times a slope."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.linspace(0, 1, outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0].mean(dim=(1, 2))
        return -10 * (red[:, None] - self.centres[None]) ** 2


def mean_color(outputs: int = 10) -> nn.Module:
    return MeanColor(outputs)


class Broken(MeanColor):
    """Runs on one image (and on none), fails on a batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 1:
            raise ValueError("this model is broken")
        return super().forward(images)


def broken() -> nn.Module:
    return Broken()


class NotFinite(MeanColor):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) / 0


def not_finite() -> nn.Module:
    return NotFinite()


def no_module() -> str:
    return "a string"


class Features(MeanColor):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def features() -> nn.Module:
    return Features()


class Averaging(MeanColor):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images).mean(0, keepdim=True)


def averaging() -> nn.Module:
    return Averaging()


class LooksAtValues(MeanColor):
    """Decides by what it sees, which cannot be traced without values."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.max() > 2:
            return super().forward(images / 255)
        return super().forward(images)


def looks_at_values() -> nn.Module:
    return LooksAtValues()


def unseeded() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10))


class HidesItsGradient(MeanColor):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.detach())


def hides_its_gradient() -> nn.Module:
    return HidesItsGradient()


class Flat(MeanColor):
    """Sees rounded images, whose gradient is zero everywhere."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.round())


def flat() -> nn.Module:
    return Flat()


class PartlyFlat(MeanColor):
    """Sees rounded images where they are dark."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        is_dark = images.mean(dim=(1, 2, 3), keepdim=True) < 0.5
        return super().forward(torch.where(is_dark, images.detach(), images))


def partly_flat() -> nn.Module:
    return PartlyFlat()


class Shares(MeanColor):
    """Returns probabilities."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images).softmax(1)


def shares() -> nn.Module:
    return Shares()


class Noisy(MeanColor):
    """Answers anew each time."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images + 0.1 * torch.randn_like(images[:, :, :1, :1]))


def noisy() -> nn.Module:
    return Noisy()
