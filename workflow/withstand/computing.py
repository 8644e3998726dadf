"""How a model computes: with which numbers, in which layout, compiled or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, get_args

from withstand import devices
from withstand.errors import WithstandError, nearest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch
    from torch import nn

Precision = Literal["float32", "tf32", "bfloat16"]


@dataclass(frozen=True)
class Computing:
    """How a model computes; float32, as its weights are, where nothing is said.

    Attributes:
        precision: ``float32``; ``tf32``, float32 whose products have 10 bits of mantissa on cards that can; or
            ``bfloat16``, torch's automatic mixed precision, where products have 7.
        channels_last: whether weights and activations lie in memory as images do. On a CPU they always do.
        compile: whether ``torch.compile`` makes kernels of its own for the network.

    Raises:
        ValueError: for an unknown precision.
    """

    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"unknown precision '{self.precision}'{nearest(self.precision, get_args(Precision))}")

    def choices(self) -> dict:
        """What differs from the defaults."""
        return {key: value for key, value in asdict(self).items() if value != getattr(Computing, key)}

    def numbers(self, device: torch.device | str) -> str:
        """The numbers that a device really computes with: CPUs and older GPUs have no TF32."""
        has_tf32 = str(device).startswith("cuda") and devices.has_ampere_formats(device)
        return "float32" if self.precision == "tf32" and not has_tf32 else self.precision

    def prepare(self, network: nn.Module, device: torch.device | str) -> nn.Module:
        """A network on a device, ready to compute so.

        On a GPU this sets, for the whole process, what products of float32 are: torch's own default is TF32 in
        convolutions and float32 elsewhere.

        Raises:
            DeviceError: for bfloat16 on a GPU that has none.
        """
        import torch

        device = torch.device(device)
        if device.type == "cuda":
            if self.precision == "bfloat16":
                devices.check_bfloat16(device)
            # not by the newer fp32_precision: torch.compile reads these, and torch then refuses to say them
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        if self.channels_last or device.type == "cpu":  # on a CPU, convolutions are up to four times as fast
            network = network.to(memory_format=torch.channels_last)
        network = network.to(device)
        if self.compile:
            network.compile()
        return network

    def arranged(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) in the memory format of the weights, which a GPU's convolutions take from their
        input: pixels come as they lie in files, channels last."""
        import torch

        if images.device.type == "cpu":
            return images
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def products(self, device: torch.device | str) -> AbstractContextManager:
        """Where a network is called."""
        import torch

        if self.precision != "bfloat16":
            return nullcontext()
        return torch.autocast(torch.device(device).type, torch.bfloat16)


FLOAT32 = Computing()


@contextmanager
def compiler_errors() -> Iterator[None]:
    """Tell errors of torch's compiler from those of a model.

    Raises:
        WithstandError: for what the compiler raises: the machine lacks something, or the network is beyond it.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().splitlines()[0]
        raise WithstandError(
            f"the model cannot be compiled here ({type(error).__name__}: {reason}); take inference.compile away"
        ) from error
