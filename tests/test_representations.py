import math

import pytest
import torch

from networks import FAMILIES, OVER_TOKENS, noise, small
from withstand import blocks
from withstand.errors import NotApplicableError
from withstand.interventions import Lesion, PatchToClass, intervene
from withstand.models import Classifier, Preprocessing
from withstand.representations import DistanceMeter, attention_weights, recording, representations

WITHOUT_CLASS_TOKEN = ("siglip", "swin", "swinv2", "convnext", "resnet", "bit")


@pytest.mark.parametrize("family", [*OVER_TOKENS, "beit"])
def test_tokens_after_blocks_are_timms(family):
    model = small(family)
    images = noise(model)
    prefix = model.network.num_prefix_tokens
    expected = model.network.forward_intermediates(
        (images - model.mean) / model.std,
        norm=False,
        output_fmt="NLC",
        intermediates_only=True,
        **({"return_prefix_tokens": True} if prefix else {}),
    )
    found = representations(model, images)
    assert len(found) == len(expected) == 4
    for own, theirs in zip(found, expected, strict=True):
        patches, before = theirs if prefix else (theirs, None)
        assert torch.equal(own.tokens[:, prefix:], patches)
        if prefix:
            assert torch.equal(own.tokens[:, :prefix], before)
            assert torch.equal(own.summary, before[:, 0])
        else:
            assert torch.allclose(own.summary, patches.mean(1), atol=1e-6)  # sums in another order


@pytest.mark.parametrize("family", ["swin", "swinv2", "convnext", "resnet", "bit"])
def test_positions_after_the_last_block_of_a_stage_are_timms(family):
    model = small(family)
    images = noise(model)
    stages = model.network.forward_intermediates((images - model.mean) / model.std, intermediates_only=True)
    found = representations(model, images)
    assert len(found) == len(blocks.find(model.network))
    for stage in stages[-2:]:
        positions = stage.flatten(2).transpose(1, 2)
        same = [own for own in found if own.tokens.shape == positions.shape and torch.equal(own.tokens, positions)]
        assert len(same) == 1
        assert torch.allclose(same[0].summary, stage.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_handed_over_is_not_changed_by_later_blocks(family):
    model = small(family)
    kept, copies = {}, {}

    def visit(number, tokens):
        kept[number], copies[number] = tokens, tokens.clone()

    with recording(model, visit) as found:
        model(noise(model))
    assert sorted(kept) == [block.index for block in found]
    assert all(torch.equal(kept[number], copies[number]) for number in kept)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("family", ["vit", "swin", "resnet"])
def test_a_removed_block_hands_on_what_it_got(family):
    model = small(family)
    removed = blocks.removable(model.network)[1]
    with intervene(model, Lesion("block", (removed,))):
        found = representations(model, noise(model))
    assert torch.equal(found[removed].tokens, found[removed - 1].tokens)
    assert found[removed].tokens.ndim == 3


def explicit_weights(model, images):
    """The first block's attention weights of a plain ViT, from its queries and keys."""
    network = model.network
    tokens = network.norm_pre(network._pos_embed(network.patch_embed((images - model.mean) / model.std)))
    block = network.blocks[0]
    n, count, _ = tokens.shape
    projected = block.attn.qkv(block.norm1(tokens)).reshape(n, count, 3, block.attn.num_heads, -1)
    queries, keys = projected.permute(2, 0, 3, 1, 4)[:2]
    return (queries @ keys.mT / math.sqrt(queries.shape[-1])).softmax(-1)


@pytest.mark.parametrize("family", ["vit", "deit_distilled", "clip", "dinov2", "siglip"])
def test_attention_weights_are_those_of_queries_and_keys(family):
    model = small(family)
    images = noise(model)
    logits, weights = model(images), {}
    with attention_weights(model, weights.__setitem__) as found:
        again = model(images)
    assert [block.index for block in found] == sorted(weights) == [0, 1, 2, 3]
    assert torch.allclose(weights[0], explicit_weights(model, images), atol=1e-5)
    assert torch.allclose(again, logits, atol=1e-4)  # attention in steps rounds otherwise than fused
    assert torch.equal(model(images), logits)


@pytest.mark.parametrize("family", ["swin", "resnet", "beit"])
def test_attention_weights_of_other_families_are_refused(family):
    with pytest.raises(NotApplicableError), attention_weights(small(family), print):
        pass


def test_distances_of_known_weights():
    model = small("dinov2")  # four patches a side, five tokens before them
    meter = DistanceMeter(model)
    uniform = torch.full((1, 2, 21, 21), 1 / 21)
    found = meter(uniform)
    places = [(row, column) for row in range(4) for column in range(4)]
    euclidean = sum(math.dist(a, b) for a in places for b in places) / 16**2
    chebyshev = sum(max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a in places for b in places) / 16**2
    # float32 weights
    assert torch.allclose(found.euclidean, torch.full((1, 2), euclidean, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(found.chebyshev, torch.full((1, 2), chebyshev, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(found.prefix_share, torch.full((1, 2), 5 / 21, dtype=torch.float64), atol=1e-6)
    to_itself = meter(torch.eye(21).expand(1, 2, 21, 21))
    assert to_itself.euclidean.abs().max() == to_itself.chebyshev.abs().max() == to_itself.prefix_share.max() == 0
    half = torch.zeros(21, 21)
    half[5:, 0] = 0.5  # half to the class token, half to the patch at the upper left
    half[5:, 5] = 0.5
    found = meter(half.expand(1, 1, 21, 21))
    expected = sum(math.hypot(*place) for place in places) / 16
    assert found.euclidean.item() == pytest.approx(expected, abs=1e-5)
    assert found.prefix_share.item() == pytest.approx(0.5)


@pytest.mark.bool_masks
def test_heads_that_see_prefix_tokens_alone_have_no_distance():
    model = small("vit")
    meter, found = DistanceMeter(model), {}
    with (
        intervene(model, PatchToClass(first=1)),
        attention_weights(model, lambda number, weights: found.update({number: meter(weights)})),
    ):
        model(noise(model))
    assert found[0].euclidean.isnan().all() and (found[0].prefix_share == 1).all()
    assert found[1].euclidean.isfinite().all()


def test_a_network_without_known_blocks_is_told():
    model = Classifier(torch.nn.Flatten(), Preprocessing(8, (0.0,) * 3, (1.0,) * 3))
    with pytest.raises(NotApplicableError, match="Flatten has no residual blocks"):
        representations(model, torch.zeros(1, 3, 8, 8))
