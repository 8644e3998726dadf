"""Attacks by gradients: that they do what they say, and do not fool themselves."""

import copy
import itertools
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional

from attacked import GREY, accuracy, budget, pgd, pictures, zoo_model
from withstand.attacks import auto, gradient
from withstand.attacks.gradient import NEVER, answer
from withstand.attacks.run import GradientMethod, method_of
from withstand.attacks.space import Ball, apply, magnitude, space, toward_zero
from withstand.errors import ModelError, WithstandError

ULP = 2**-23
"""Of float32 below 1: perturbed images are rounded once."""


@pytest.fixture(scope="module")
def model():
    return zoo_model("vit_p16_base")


@pytest.fixture(scope="module")
def sample():
    return pictures(60)


def perturbed(attacked, sample, **options):
    return apply(sample[0], attacked.perturbations, budget(**options).unit)


@pytest.mark.parametrize(
    ("eps", "step", "unit"),
    [
        (GREY, GREY / 8, GREY / 8),
        (GREY, GREY, GREY),
        (4 * GREY, 4 * GREY / 8, GREY / 2),
        (3 * GREY, 3 * GREY / 8, GREY / 8),  # what is cut off at 0 and 1 is on the lattice too
        (16 * GREY, 2 * GREY, GREY),
        (GREY, GREY / 3, GREY / 3),
        (20 * GREY, GREY / 8, None),  # 160 units do not fit into int8
        (Fraction("0.00392"), Fraction("0.00049"), None),
    ],
)
def test_the_lattice_is_used_where_int8_is_exact(eps, step, unit):
    assert budget(eps, step).unit == unit
    assert budget(eps, step, norm="l2").unit is None
    assert budget(eps, step, random_start=True).unit is None


BUDGETS = [
    {"eps": GREY},
    {"eps": 3 * GREY},
    {"eps": 20 * GREY, "step_size": 3 * GREY},
    {"eps": GREY, "random_start": True},
    {"eps": Fraction(1, 2), "norm": "l2"},
    {"eps": Fraction(1, 2), "norm": "l2", "random_start": True},
]


@pytest.mark.parametrize("options", BUDGETS, ids=str)
def test_perturbations_stay_in_their_budget_and_range_and_do_again_what_they_did(model, sample, options):
    # black and white pixels, from which there is one way only
    images, labels, ids = sample[0][:20].clone(), sample[1][:20], sample[2][:20]
    images[:, :8], images[:, 8:16] = 0, 255
    attacked = pgd(model, (images, labels, ids), **options)
    unit = budget(**options).unit
    assert attacked.perturbations.dtype == (torch.float16 if unit is None else torch.int8)
    found = apply(images, attacked.perturbations, unit)
    assert found.min() >= 0 and found.max() <= 1
    changes = magnitude(attacked.perturbations, unit)
    measured = changes.flatten(1).norm(dim=1) if options.get("norm") == "l2" else changes.flatten(1).amax(1)
    assert measured.max() <= float(options["eps"]) * (1 + 1e-6)
    assert measured.min() > 0.9 * float(options["eps"])
    assert (found - images / 255).abs().sub(changes).abs().max() <= ULP
    assert torch.equal(answer(model, found), attacked.logits)


def test_lattice_and_real_numbers_agree(model, sample):
    """The whole numbers of the lattice are the same attack as real ones, up to rounding in the network."""
    attacked, where = pgd(model, sample), Ball(budget(), sample[0])
    changes = where.start(lambda draw: None)
    for _ in range(8):
        uphill, _ = gradient._uphill(model, where.images(changes), sample[1], False, sample[2])
        changes = where.step(changes, uphill)
    # rounding in the network may turn the sign of a gradient of nearly zero, in every step
    same = (magnitude(attacked.perturbations, budget().unit) - changes.abs()).abs() < 1e-6
    assert same.float().mean() > 0.98


def test_a_budget_of_nothing_changes_nothing(model, sample):
    attacked = pgd(model, sample, eps=Fraction(0), step_size=Fraction(0), steps=2)
    assert not attacked.perturbations.any()
    assert torch.equal(attacked.logits, answer(model, sample[0].float() / 255))


def test_accuracy_falls_with_the_budget_and_with_steps_down_to_nothing(model, sample):
    clean = (answer(model, sample[0].float() / 255).argmax(1) == sample[1]).float().mean().item()
    by_eps = [clean] + [accuracy(pgd(model, sample, eps=eps), sample) for eps in (GREY, 2 * GREY, 4 * GREY, 16 * GREY)]
    assert all(more >= less - 1 / 60 for more, less in itertools.pairwise(by_eps)), by_eps
    assert by_eps[-1] == 0
    by_steps = [accuracy(pgd(model, sample, eps=2 * GREY, steps=steps), sample) for steps in (1, 2, 4, 8)]
    assert by_steps == sorted(by_steps, reverse=True) and by_steps[0] > by_steps[-1]


def test_the_loss_rises_with_every_step(model, sample):
    losses = [
        functional.cross_entropy(pgd(model, sample, steps=steps).logits, sample[1]).item() for steps in (1, 2, 4, 8)
    ]
    before = functional.cross_entropy(answer(model, sample[0].float() / 255), sample[1]).item()
    assert [before, *losses] == sorted([before, *losses])


def test_the_step_at_which_samples_fall(model, sample):
    attacked = pgd(model, sample, eps=2 * GREY)
    for steps in range(1, 9):
        shorter = pgd(model, sample, eps=2 * GREY, step_size=2 * GREY / 8, steps=steps)
        first = attacked.fell_at == steps
        assert (shorter.logits.argmax(1)[first] != sample[1][first]).all()
    wrong_before = answer(model, sample[0].float() / 255).argmax(1) != sample[1]
    assert torch.equal(attacked.fell_at == 0, wrong_before) and wrong_before.any()
    never = attacked.fell_at == NEVER
    assert (attacked.logits.argmax(1)[never] == sample[1][never]).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("peer", ["foolbox", "torchattacks"])
def test_agreement_with_others(model, sample, peer, norm, steps):
    """Adversarial accuracy within the larger of one sample and 1%, from the same start."""
    library = pytest.importorskip(peer, reason="torchattacks comes with make install, from tests/peers.lock")
    eps = {"linf": 2 * GREY, "l2": Fraction(1, 4)}[norm]
    step = eps if steps == 1 else eps / 8
    images = (sample[0].float() / 255).permute(0, 3, 1, 2).contiguous()
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)  # torchattacks takes no other gradients
    if peer == "foolbox":
        kinds = {"linf": library.attacks.LinfPGD, "l2": library.attacks.L2PGD}
        theirs = kinds[norm](abs_stepsize=float(step), steps=steps, random_start=False)
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
        found = theirs.run(wrapped, images, library.criteria.Misclassification(sample[1]), epsilon=float(eps))
    elif norm == "linf":
        found = library.PGD(plain, float(eps), float(step), steps, random_start=False)(images, sample[1])
    else:
        found = library.PGDL2(plain, float(eps), float(step), steps, random_start=False)(images, sample[1])
    their_accuracy = (answer(model, found.permute(0, 2, 3, 1)).argmax(1) == sample[1]).float().mean().item()
    attacked = pgd(model, sample, eps=eps, step_size=step, steps=steps, norm=norm)
    assert abs(accuracy(attacked, sample) - their_accuracy) <= max(1 / 60, 0.01) + 1e-6
    ours = perturbed(attacked, sample, eps=eps, step_size=step, norm=norm)
    difference = (ours.permute(0, 3, 1, 2) - found).abs()
    # float16 in L2; elsewhere a sign may turn where a gradient is nearly zero
    assert (difference < (1e-4 if norm == "l2" else 1e-6)).float().mean() > 0.97


def test_random_starts_belong_to_the_sample(model, sample):
    options = {"eps": GREY, "random_start": True}
    whole = space(budget(**options), sample[0]).start(_keys(sample[2]))
    part = space(budget(**options), sample[0][30:33]).start(_keys(sample[2][30:33]))
    assert torch.equal(whole[30:33], part)
    assert not torch.equal(whole[0], whole[1])
    inside = sample[0].float().sub(127.5).abs() < 126
    # uniform: a third of the way has a third of the numbers, a million of them
    assert (whole[inside].abs() < float(GREY) / 3).float().mean() == pytest.approx(1 / 3, abs=0.01)


def _keys(ids):
    from withstand import random

    return lambda draw: random.tensor_keys(0, "start", 0, ids, draw)


def test_restarts_are_at_least_as_strong(model, sample):
    once = pgd(model, sample, random_start=True)
    thrice = pgd(model, sample, random_start=True, restarts=3)
    margins = [gradient._strength(attacked.logits, sample[1], False) for attacked in (once, thrice)]
    assert (margins[1] >= margins[0] - 1e-5).all() and (margins[1] > margins[0] + 1e-3).any()


def test_targets_are_reached(model, sample):
    targets = (sample[1] + 3) % 10
    attacked = pgd(model, sample, eps=16 * GREY, steps=16, targets=targets)
    assert (attacked.logits.argmax(1) == targets).float().mean() > 0.9
    reached = attacked.logits.argmax(1) == targets
    assert ((attacked.fell_at != NEVER) >= reached).all()
    for target in ("random", "least_likely"):
        given = {"name": "t", "norm": "linf", "eps": "1/255", "step_size": "1/2040", "steps": 1, "seed": 0}
        method = GradientMethod(given | {"random_start": False, "restarts": 1, "target": target})
        chosen = method._targets(model, *sample)
        assert (chosen != sample[1]).all() and len(chosen.unique()) == 10
        if target == "least_likely":
            logits = answer(model, sample[0].float() / 255)
            assert (logits.gather(1, chosen[:, None])[:, 0] <= logits.median(1).values).all()


def test_a_confident_model_still_has_a_gradient(model, sample):
    """Where the loss is zero in float32, its own gradient is zero: an attack that follows it fools itself."""

    class Confident(nn.Module):
        def forward(self, images):
            return 100 * model(images)

    images = (sample[0].float() / 255).permute(0, 3, 1, 2).requires_grad_(True)
    loss = functional.cross_entropy(Confident()(images), sample[1], reduction="none")
    naive = torch.autograd.grad(loss.sum(), images)[0].flatten(1).any(1)
    attacked = pgd(Confident(), sample)
    assert naive.sum() < 50 and not attacked.without_gradient.any()
    assert accuracy(attacked, sample) == pytest.approx(accuracy(pgd(model, sample), sample), abs=0.1)


class Rounds(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images.round())


class Detaches(Rounds):
    def forward(self, images):
        return self.inner(images.detach())


class Breaks(Rounds):
    def forward(self, images):
        return self.inner(images) / 0


def test_models_that_cannot_be_attacked_are_told(model, sample):
    some = tuple(part[:4] for part in sample)
    assert pgd(Rounds(model), some).without_gradient.all()
    with pytest.raises(ModelError, match="no gradient: torch cannot follow"):
        pgd(Detaches(model), some)
    with pytest.raises(ModelError, match=f"logits are not finite, first for sample {some[2][0]}"):
        pgd(Breaks(model), some)


def test_autoattack_is_at_least_as_strong(model, sample):
    some = tuple(part[:24] for part in sample)
    attacked = auto.attack(model, *some, auto.AutoAttack("linf", GREY, attacks=("apgd-ce",)), set())
    assert accuracy(attacked, some) <= accuracy(pgd(model, some), some)
    assert magnitude(attacked.perturbations, None).max() <= float(GREY)
    assert torch.equal(answer(model, apply(some[0], attacked.perturbations, None)), attacked.logits)
    assert set(attacked.fell_at.tolist()) <= {NEVER, 0, 1}


def test_autoattack_takes_few_classes():
    """Its standard version looks for nine others."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    given = auto.AutoAttack("linf", 8 * GREY, attacks=("apgd-t", "fab-t"))
    four, three = (nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, count)).requires_grad_(False) for count in (4, 3))
    labels = answer(four, images.float() / 255).argmax(1)
    assert (auto.attack(four, images, labels, list("abcd"), given, set()).logits.argmax(1) != labels).any()
    with pytest.raises(ModelError, match="the model has 3 outputs, AutoAttack's targeted loss needs 4"):
        auto.attack(three, images, labels % 3, list("abcd"), given, set())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": "-1/255"}, "eps: -1/255 is not positive"),
        ({"eps": "0"}, "eps: 0 is not positive"),
        ({"steps": 0}, "steps: 0 is no positive whole number"),
        ({"step_size": "-1/255"}, "step_size: -1/255 is negative"),
        ({"norm": "l7"}, "norm: 'l7' is none of linf, l2"),
        ({"kind": "foo"}, "kind: 'foo' is none of gradient, autoattack"),
        ({"target": "all"}, "target: 'all' is none of none, random, least_likely"),
        ({"eps": "a"}, "an attack that makes no sense: Invalid literal for Fraction: 'a'"),
        ({"steps": None}, "steps: None is no positive whole number"),
    ],
)
def test_attacks_that_make_no_sense_are_told(changes, message):
    given = {"kind": "gradient", "name": "x", "norm": "linf", "eps": "1/255", "step_size": "1/2040", "steps": 8}
    given |= {"random_start": False, "restarts": 1, "target": "none", "seed": 0}
    assert method_of(given).unit == GREY / 8
    with pytest.raises(WithstandError) as error:
        method_of(given | changes)
    assert str(error.value) == message
    with pytest.raises(WithstandError, match="an attack without 'norm'"):
        method_of({name: value for name, value in given.items() if name != "norm"})


def test_float16_never_leads_away_from_zero():
    values = torch.cat([torch.randn(10_000) * 10.0**power for power in range(-8, 3)])
    kept = toward_zero(values).float()
    assert (kept.abs() <= values.abs()).all() and (kept * values >= 0).all()
    large = values.abs() > 1e-4
    assert ((values - kept).abs()[large] <= values.abs()[large] * 2**-10).all()


@pytest.mark.gpu
@pytest.mark.parametrize("options", BUDGETS, ids=str)
def test_a_gpu_attacks_as_a_cpu_does(sample, options):
    """Perturbed images are the same on both to the last bit; networks round otherwise, so some signs differ."""
    some = tuple(part[:20] for part in sample)
    on_cpu = pgd(zoo_model("vit_p16_base"), some, **options)
    images, labels, ids = some
    on_gpu = pgd(zoo_model("vit_p16_base").cuda(), (images.cuda(), labels.cuda(), ids), **options)
    assert abs(accuracy(on_cpu, some) - (on_gpu.logits.cpu().argmax(1) == labels).float().mean().item()) <= 1 / 20
    unit = budget(**options).unit
    applied = [apply(images.to(where), on_cpu.perturbations.to(where), unit).cpu() for where in ("cpu", "cuda")]
    assert torch.equal(*applied) if unit else torch.allclose(*applied, atol=2 * ULP)
