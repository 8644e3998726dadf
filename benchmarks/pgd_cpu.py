"""PGD against its bare forward and backward passes, torchattacks and foolbox; one thread, the same batch for all.

The bare passes are as many as the attack needs: a forward and a backward pass for each step, and a last forward pass
that gives the answer. Peers get a model in torch's default memory format, the only one that torchattacks takes, and the
one that both are written for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from fractions import Fraction
from statistics import median

import foolbox
import torch
import torchattacks

from benchmarks.attacked import model_of_zoo, pictures, ratio, rounds
from benchmarks.comparison import Comparison
from withstand import zoo
from withstand.attacks.gradient import GradientAttack, attack
from withstand.attacks.space import Budget

DEVICE = "cpu"
BATCH, STEPS, ROUNDS = 128, 8, 5
MODELS = tuple(name for name in ("vit_p8_base", "vit_p16_base", "resnet_gn_base") if name in zoo.names())
EPS = Fraction(1, 255)


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    for name in MODELS:
        yield from compare(name, DEVICE, BATCH)


def compare(name: str, device: str, batch: int) -> Iterator[Comparison]:
    """PGD of one model of the zoo, against each peer."""
    model = model_of_zoo(name, device)
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    images, labels, ids = pictures(batch)
    images, labels = images.to(device), labels.to(device)
    floats = (images.float() / 255).permute(0, 3, 1, 2)
    contiguous = floats.contiguous()
    given = GradientAttack("pgd", Budget("linf", EPS, EPS / STEPS), STEPS)
    of_torchattacks = torchattacks.PGD(plain, float(EPS), float(EPS / STEPS), STEPS, random_start=False)
    of_foolbox = foolbox.attacks.LinfPGD(abs_stepsize=float(EPS / STEPS), steps=STEPS, random_start=False)
    wrapped = foolbox.PyTorchModel(plain, bounds=(0, 1), device=device)

    def bare() -> None:
        for _ in range(STEPS):
            pixels = floats.detach().requires_grad_(True)
            logits = model(pixels)
            torch.autograd.grad(logits, pixels, torch.ones_like(logits))
        with torch.no_grad():
            model(floats)

    works = (
        lambda: attack(model, images, labels, ids, given),
        bare,
        lambda: plain(of_torchattacks(contiguous, labels)),
        lambda: of_foolbox(wrapped, contiguous, labels, epsilons=float(EPS)),
    )
    ours, *others = rounds(works, ROUNDS)
    peers = ("its bare forward and backward passes", "torchattacks 3.5.1", "foolbox 3.3.4")
    for found, peer in zip(others, peers, strict=True):
        speed, other = (batch / median(seconds) for seconds in (ours, found))
        yield Comparison(
            f"pgd_{device}: {name}, {STEPS} steps", speed, other, ratio(ours, found), "images/s", f"{peer}, 1 thread"
        )
