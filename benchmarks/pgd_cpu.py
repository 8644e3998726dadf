"""PGD against its bare forward and backward passes, torchattacks and foolbox; one thread, the same batch for all.

The bare passes are as many as the attack needs: a forward and a backward pass for each step, and a last forward pass
that gives the answer. Peers get a model in torch's default memory format, the only one that torchattacks takes, and the
one that both are written for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib import metadata
from statistics import median

import torch

from benchmarks.attacked import model_of_zoo, pictures, ratio, rounds
from benchmarks.comparison import Comparison
from withstand import zoo
from withstand.attacks.gradient import GradientAttack, attack
from withstand.attacks.space import Budget
from withstand.models import Classifier

BATCH, STEPS, ROUNDS = 128, 8, 5
MODELS = tuple(name for name in ("vit_p8_base", "vit_p16_base", "resnet_gn_base") if name in zoo.names())
EPS = Fraction(1, 255)


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    for name in MODELS:
        sample = pictures(BATCH)
        yield from compare(f"pgd_cpu: {name}, {STEPS} steps", model_of_zoo(name, "cpu"), sample, ROUNDS)


def compare(
    label: str,
    model: Classifier,
    sample: tuple[torch.Tensor, torch.Tensor, list[str]],
    number: int,
    peers: Sequence[str] = ("torchattacks", "foolbox"),
) -> Iterator[Comparison]:
    """PGD on images, labels and ids that lie where the model does, against its bare passes and each peer."""
    images, labels, ids = sample
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    floats = (images.float() / 255).permute(0, 3, 1, 2)
    given = GradientAttack("pgd", Budget("linf", EPS, EPS / STEPS), STEPS)

    def bare() -> None:
        for _ in range(STEPS):
            pixels = floats.detach().requires_grad_(True)
            logits = model(pixels)
            torch.autograd.grad(logits, pixels, torch.ones_like(logits))
        with torch.no_grad():
            model(floats)

    against = {"its bare forward and backward passes": bare}
    for peer in peers:
        version = metadata.version(peer)
        against[f"{peer} {version}"] = _PEERS[peer](plain, floats.contiguous(), labels)
    ours, *others = rounds((lambda: attack(model, images, labels, ids, given), *against.values()), number)
    threads = f", {torch.get_num_threads()} thread" if images.device.type == "cpu" else ""
    for found, peer in zip(others, against, strict=True):
        speed, other = (len(images) / median(seconds) for seconds in (ours, found))
        yield Comparison(label, speed, other, ratio(ours, found), "images/s", f"{peer}{threads}")


def _torchattacks(plain: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    import torchattacks

    given = torchattacks.PGD(plain, float(EPS), float(EPS / STEPS), STEPS, random_start=False)
    return lambda: plain(given(pixels, labels))


def _foolbox(plain: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    import foolbox

    given = foolbox.attacks.LinfPGD(abs_stepsize=float(EPS / STEPS), steps=STEPS, random_start=False)
    wrapped = foolbox.PyTorchModel(plain, bounds=(0, 1), device=pixels.device)
    return lambda: given(wrapped, pixels, labels, epsilons=float(EPS))


_PEERS = {"torchattacks": _torchattacks, "foolbox": _foolbox}
