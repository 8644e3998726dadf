from itertools import combinations

import numpy as np
import pytest
import torch

from networks import FAMILIES, OVER_TOKENS, noise, small
from withstand import blocks
from withstand.blocks import TRANSFORMER, WINDOWED
from withstand.errors import NotApplicableError
from withstand.interventions import (
    InterventionError,
    Lesion,
    LocalAttention,
    PatchToClass,
    RandomAttention,
    among_patches,
    from_spec,
    intervene,
    lesion_draws,
    local_pairs,
    random_pairs,
    single_lesions,
    to_spec,
)
from withstand.random import Stream
from withstand.representations import attention_weights

WITH_BRANCHES = [*OVER_TOKENS, "beit", "swin", "swinv2"]
POST_NORM = ("swinv2",)


def silenced(model, family, part, index, images):
    """The oracle: the branch is computed, and a hook puts zeros in place of what it adds."""
    module = blocks.find(model.network)[index].module
    if part == "block":
        handle = module.register_forward_hook(lambda module, inputs, output: inputs[0])
    else:
        names = {"attention": ("attn", "norm1"), "mlp": ("mlp", "norm2")}[part]
        last = getattr(module, names[1 if family in POST_NORM else 0])
        handle = last.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    try:
        return model(images)
    finally:
        handle.remove()


@pytest.mark.parametrize("family", WITH_BRANCHES)
@pytest.mark.parametrize("part", ["block", "mlp", "attention"])
def test_a_lesion_is_a_branch_that_adds_nothing(family, part):
    model = small(family)
    images = noise(model)
    expected = silenced(model, family, part, 1, images)
    with intervene(model, Lesion(part, (1,))):
        found = model(images)
    # the order of float32 additions may differ
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, model(images), atol=1e-3)


@pytest.mark.parametrize("family", ["convnext", "resnet", "bit", "mobile"])
def test_a_block_of_a_convolutional_network_becomes_the_identity(family):
    model = small(family)
    images = noise(model)
    index = blocks.removable(model.network)[1]
    expected = silenced(model, family, "block", index, images)
    with intervene(model, Lesion("block", (index,))):
        assert torch.allclose(model(images), expected, atol=1e-5)
    assert not torch.allclose(expected, model(images), atol=1e-3)


@pytest.mark.parametrize("family", ["vit", "dinov2", "eva", "swin", "swinv2"])
@pytest.mark.parametrize("part", ["block", "mlp", "attention"])
def test_a_removed_branch_is_not_computed(family, part):
    model = small(family)
    block = blocks.find(model.network)[1].module
    names = {"mlp": ("mlp", "norm2"), "attention": ("attn", "norm1"), "block": ("attn", "norm1", "mlp", "norm2")}[part]
    called = []
    for name in names:
        getattr(block, name).register_forward_hook(lambda *_: called.append(1))
    with intervene(model, Lesion(part, (1,))):
        model(noise(model))
    assert not called
    model(noise(model))
    assert len(called) == len(names)


@pytest.mark.bool_masks
@pytest.mark.parametrize("family", FAMILIES)
def test_all_is_as_before_also_after_an_error(family):
    model = small(family)
    images = noise(model)
    before, logits = list(model.named_modules()), model(images)
    own = [set(vars(module)) for _, module in before]
    parts = ["block"] + (["mlp", "attention"] if family in WITH_BRANCHES else [])
    index = blocks.removable(model.network)[1]
    for part in parts:
        with pytest.raises(KeyboardInterrupt), intervene(model, Lesion(part, (index,))):
            raise KeyboardInterrupt
    if family in OVER_TOKENS:
        with intervene(model, LocalAttention(0.2), Lesion("mlp", (0, 2))):
            assert not torch.equal(model(images), logits)
    after = list(model.named_modules())
    assert [name for name, _ in before] == [name for name, _ in after]
    assert all(old is new for (_, old), (_, new) in zip(before, after, strict=True))
    assert own == [set(vars(module)) for _, module in after]
    assert torch.equal(model(images), logits)


def test_what_is_not_applicable_leaves_the_model_alone():
    model = small("vit")
    logits = model(noise(model))
    both = intervene(model, Lesion("mlp", (0,)), Lesion("mlp", (7,)))
    with pytest.raises(NotApplicableError, match="no block 7: the model has blocks 0 to 3"), both:
        pass
    assert torch.equal(model(noise(model)), logits)


@pytest.mark.parametrize(
    ("family", "intervention", "reason"),
    [
        ("resnet", Lesion("mlp", (0,)), "no MLP"),
        ("convnext", Lesion("attention", (0,)), "no attention"),
        ("resnet", Lesion("block", (2,)), "changes the shape"),
        ("bit", Lesion("block", (0,)), "changes the shape"),
        ("swin", LocalAttention(0.5), "SwinTransformer has no grid"),
        ("beit", RandomAttention(0.5, 0), "no attention that takes a mask"),
        ("resnet", LocalAttention(0.5), "ResNet has no grid"),
        ("siglip", PatchToClass(first=1), "no class token"),
        ("vit", PatchToClass(first=5), "no 5 blocks"),
    ],
)
def test_what_a_family_has_not_is_told(family, intervention, reason):
    with pytest.raises(NotApplicableError, match=reason) as error, intervene(small(family), intervention):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.bool_masks
@pytest.mark.parametrize("family", OVER_TOKENS)
def test_the_whole_grid_is_no_limit(family):
    model = small(family)
    images = noise(model)
    with intervene(model, LocalAttention(1)):
        limited = model(images)
    # torch may take another kernel for attention with a mask
    assert torch.allclose(limited, model(images), atol=1e-5)


@pytest.mark.bool_masks
@pytest.mark.parametrize("family", OVER_TOKENS)
@pytest.mark.parametrize("intervention", [LocalAttention(0.3), RandomAttention(0.3, 7, shared_by_heads=False)])
def test_masked_pairs_get_no_weight_and_others_all_of_it(family, intervention):
    model = small(family)
    images = noise(model)
    grid, prefix = blocks.grid_of(model.network, model.preprocessing.input_size)
    depth = len(blocks.find(model.network))
    weights = {}
    with intervene(model, intervention):
        fused = model(images)
        with attention_weights(model, weights.__setitem__):
            stepwise = model(images)
    assert torch.allclose(fused, stepwise, atol=1e-4)  # two computations of attention in float32
    assert len(weights) == depth
    for found in weights.values():
        assert torch.allclose(found.sum(-1), torch.ones(()), atol=1e-5)
        masked = (found == 0).numpy()
        assert not masked[:, :, :prefix].any() and not masked[..., :prefix].any()
        among = masked[:, :, prefix:, prefix:]
        assert (among.sum((-1, -2)) == (~local_pairs(grid, 0.3)).sum()).all()
        if isinstance(intervention, LocalAttention):
            assert (among == ~local_pairs(grid, 0.3)).all()
        else:
            assert (among[0, 0] != among[0, 1]).any()


def test_local_pairs_by_hand():
    grid = (3, 5)
    for distance, steps in ((0, 0), (0.2, 1), (0.39, 1), (0.4, 2), (0.6, 3), (1, 5)):
        places = [(row, column) for row in range(3) for column in range(5)]
        expected = [[max(abs(a - c), abs(b - d)) <= steps for c, d in places] for a, b in places]
        assert np.array_equal(local_pairs(grid, distance), expected)


def test_shares_of_a_grid_of_14_are_whole_patches():
    for steps in range(15):
        assert np.array_equal(local_pairs((14, 14), steps / 14), local_pairs((14, 14), (steps + 0.5) / 14))


@pytest.mark.parametrize("distance", [0, 0.25, 0.5, 1])
def test_random_pairs_are_as_many_and_keep_each_patch(distance):
    pairs = random_pairs((4, 4), distance, Stream("test"))
    assert pairs.sum() == local_pairs((4, 4), distance).sum()
    assert pairs.diagonal().all()


def test_random_pairs_are_uniform():
    allowed = local_pairs((3, 3), 1 / 3).sum() - 9
    counts = sum(random_pairs((3, 3), 1 / 3, Stream("test", draw)) for draw in range(4000)).astype(float)
    off = counts[~np.eye(9, dtype=bool)]
    expected = 4000 * allowed / 72
    # five standard deviations of a binomial count; 72 of them
    assert np.abs(off - expected).max() < 5 * np.sqrt(expected * (1 - allowed / 72))


def test_random_masks_are_what_they_were():
    pairs = random_pairs((3, 3), 1 / 3, Stream(0, "random_attention", 3, 3, 1, 0, 0, 0))
    assert np.packbits(pairs.ravel()).tolist() == GOLDEN_MASK


def masks(model, intervention):
    swaps = intervention.swaps(model.network, model.preprocessing.input_size)
    return [swap[2].mask for swap in swaps]


@pytest.mark.bool_masks
def test_masks_are_shared_or_not():
    model = small("vit")
    shared = masks(model, RandomAttention(0.3, 0))
    assert all(mask.ndim == 2 and torch.equal(mask, shared[0]) for mask in shared)
    by_layer = masks(model, RandomAttention(0.3, 0, shared_by_layers=False))
    assert not torch.equal(by_layer[0], by_layer[1]) and torch.equal(by_layer[0], shared[0])
    by_head = masks(model, RandomAttention(0.3, 0, shared_by_heads=False))
    assert by_head[0].shape[0] == 3 and torch.equal(by_head[0], by_head[1])
    assert not torch.equal(by_head[0][0], by_head[0][1]) and torch.equal(by_head[0][0], shared[0])
    assert not torch.equal(masks(model, RandomAttention(0.3, 0, draw=1))[0], shared[0])
    assert not torch.equal(masks(model, RandomAttention(0.3, 1))[0], shared[0])


@pytest.mark.bool_masks
@pytest.mark.parametrize(("end", "limited"), [("first", {0, 1, 2}), ("last", {1, 2, 3})])
@pytest.mark.parametrize("keep_self", [False, True])
def test_patches_attend_to_prefix_tokens_alone(end, limited, keep_self):
    model = small("dinov2")
    weights = {}
    intervention = PatchToClass(**{end: 3}, keep_self=keep_self)
    with intervene(model, intervention), attention_weights(model, weights.__setitem__):
        model(noise(model))
    allowed = torch.from_numpy(among_patches(np.eye(16, dtype=bool) & keep_self, 5))
    for index, found in weights.items():
        assert torch.equal((found != 0).all(0).all(0), allowed | torch.tensor(index not in limited))


@pytest.mark.bool_masks
def test_interventions_compose_and_let_gradients_through():
    model = small("vit")
    images = noise(model).requires_grad_()
    specs = [{"kind": "local_attention", "distance": 0.3}, {"kind": "random_attention", "distance": 0.5, "seed": 0}]
    weights = {}
    with intervene(model, *specs, {"kind": "lesion", "part": "attention", "blocks": [2]}):
        model(images).sum().backward()
        with attention_weights(model, weights.__setitem__):
            model(images)
    assert images.grad.abs().sum() > 0
    assert sorted(weights) == [0, 1, 3]
    both = local_pairs((4, 4), 0.3) & masks(model, RandomAttention(0.5, 0))[0].numpy()[1:, 1:]
    assert np.array_equal((weights[0] != 0)[0, 0, 1:, 1:].numpy(), both)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "lesion", "part": "mlp", "blocks": [3]},
        {"kind": "local_attention", "distance": 0.25},
        {
            **{"kind": "random_attention", "distance": 0.25, "seed": 3, "draw": 2},
            **{"shared_by_layers": False, "shared_by_heads": True},
        },
        {"kind": "patch_to_class", "last": 2, "keep_self": False},
    ],
)
def test_specs_there_and_back(spec):
    assert to_spec(from_spec(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"kind": "leison"}, "did you mean 'lesion'"),
        ({"kind": "lesion", "part": "mpl", "blocks": [1]}, "did you mean 'mlp'"),
        ({"kind": "lesion", "part": "mlp"}, "blocks is missing"),
        ({"kind": "lesion", "part": "mlp", "block": [1]}, "did you mean 'blocks'"),
        ({"kind": "lesion", "part": "mlp", "blocks": ["1"]}, "not all integers"),
        ({"kind": "local_attention", "distance": 4}, "no share of the grid"),
        ({"kind": "patch_to_class"}, "either first or last"),
        ({"kind": "patch_to_class", "first": -1}, "no number of blocks"),
    ],
)
def test_specs_that_make_no_sense(spec, line):
    with pytest.raises(InterventionError, match=line) as error:
        from_spec(spec)
    assert "\n" not in str(error.value)


def test_draws_of_lesions():
    draws = lesion_draws(0, 12, 4)
    assert len(draws) == 25 and all(len(set(draw)) == 4 and min(draw) > 0 and max(draw) < 12 for draw in draws)
    assert len(set(draws)) > 15 and draws == lesion_draws(0, 12, 4) != lesion_draws(1, 12, 4)
    assert lesion_draws(0, 12, 4, draws=5) == draws[:5]
    assert draws[:2] == GOLDEN_DRAWS


def test_all_subsets_where_they_are_few():
    assert lesion_draws(0, 6, 2) == list(combinations(range(1, 6), 2))
    assert lesion_draws(0, 8, 2, removable=[0, 1, 3, 5]) == [(1, 3), (1, 5), (3, 5)]
    assert lesion_draws(0, 8, 5, removable=[0, 1, 3]) == []
    assert single_lesions([0, 1, 3]) == [(0,), (1,), (3,)]


def test_models_of_one_depth_lose_the_same_blocks_as_far_as_they_can():
    whole = lesion_draws(0, 12, 4)
    part = lesion_draws(0, 12, 4, removable=[index for index in range(12) if index != 6])
    assert all(a == b for a, b in zip(whole, part, strict=True) if 6 not in a)
    assert all(6 not in draw for draw in part)


def test_blocks_are_found_in_order():
    assert [block.path for block in blocks.find(small("swin").network)] == [
        f"layers.{stage}.blocks.{index}" for stage in range(2) for index in range(2)
    ]
    assert [block.path for block in blocks.find(small("resnet").network)] == [
        f"layer{stage}.{index}" for stage in range(1, 5) for index in range(2)
    ]
    assert len(blocks.find(small("bit").network)) == 16
    assert all(isinstance(block.module, TRANSFORMER) for block in blocks.find(small("eva").network))
    assert all(isinstance(block.module, WINDOWED) for block in blocks.find(small("swinv2").network))
    with pytest.raises(NotApplicableError, match="Linear has no residual blocks"):
        blocks.find(torch.nn.Linear(3, 4))


GOLDEN_MASK = [191, 122, 44, 110, 31, 229, 231, 220, 26, 39, 128]
GOLDEN_DRAWS = [(1, 3, 10, 11), (2, 5, 6, 7)]
