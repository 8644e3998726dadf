"""One answer to how deep a model is, and to how it cuts images into patches: cards, lesions, representations and limits
of attention ask the same code. Many kinds of timm models, small and with random weights."""

import timm
import torch
from pytest import approx, mark, raises

from networks import noise
from withstand import blocks, models
from withstand.errors import NotApplicableError
from withstand.internals import LesionProtocol, _arms
from withstand.interventions import LocalAttention, intervene
from withstand.lineage import kind_of
from withstand.models import Classifier, Preprocessing
from withstand.representations import DistanceMeter, representations
from withstand.steps.tabulate import _model_row

SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 3}
VIT = {"img_size": 64, "patch_size": 16, **SMALL}
WINDOWS = {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}

KINDS = [
    # timm name, kwargs, depth, grid and patch size at 64 px
    ("vit_tiny_patch16_224", VIT, 3, 4, 16),
    ("vit_medium_patch16_reg4_gap_256", VIT, 3, 4, 16),
    ("vit_base_patch16_siglip_224", VIT, 3, 4, 16),
    ("vit_base_patch16_xp_224", VIT, 3, 4, 16),
    ("vit_small_patch16_18x2_224", VIT, 3, 4, 16),
    ("vit_base_patch16_rpn_224", VIT, 3, 4, 16),
    ("deit_tiny_distilled_patch16_224", VIT, 3, 4, 16),
    ("deit3_small_patch16_224", VIT, 3, 4, 16),
    ("beit_base_patch16_224", VIT, 3, 4, 16),
    ("eva02_tiny_patch14_224", VIT, 3, 4, 16),
    ("vit_small_patch16_dinov3", VIT, 3, 4, 16),
    ("flexivit_small", {"img_size": 64, **SMALL}, 3, 4, 16),
    ("vit_tiny_r_s16_p8_224", {"img_size": 64, **SMALL}, 3, 2, 32),
    ("naflexvit_base_patch16_gap", SMALL, 3, 4, 16),
    ("swin_tiny_patch4_window7_224", WINDOWS, 4, 16, 4),
    ("swinv2_tiny_window8_256", WINDOWS, 4, 16, 4),
    ("pit_ti_224", {"img_size": 64}, 12, None, None),
    ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, 5, None, None),
    ("resnet18", {"channels": (8, 16, 24, 32)}, 8, None, None),
    ("seresnet18", {"channels": (8, 16, 24, 32)}, 8, None, None),
    ("resnetv2_18", {"channels": (8, 16, 24, 32)}, 8, None, None),
    ("efficientnet_lite0", {}, 16, None, None),
    ("test_efficientnet_evos", {}, 5, None, None),
    ("mobilenetv3_small_050", {}, 12, None, None),
    ("mobilenetv4_conv_small_035", {}, 17, None, None),
    ("mobilevit_xxs", {}, 9, None, None),
    ("vit_relpos_small_patch16_224", {**VIT}, None, 4, 16),
    ("cait_xxs24_224", {"img_size": 64, **SMALL}, None, 4, 16),
    ("mixer_s32_224", {"img_size": 64}, None, None, None),
    ("levit_128s", {"img_size": 64}, None, None, None),
    ("efficientvit_b0", {}, None, None, None),
]


def built(name: str, kwargs: dict, size: int = 64) -> Classifier:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=10, **kwargs)
    return Classifier(network, Preprocessing(size, (0.5,) * 3, (0.5,) * 3), "shapetex").eval().requires_grad_(False)


@mark.parametrize(("name", "kwargs", "depth", "grid", "patch"), KINDS, ids=[each[0] for each in KINDS])
def test_cards_lesions_and_representations_count_the_same(name, kwargs, depth, grid, patch):
    spec = {"timm": name, "kwargs": {**kwargs, "num_classes": 10}, "label_space": "x"}
    card = models.describe(spec | {"preprocessing": {"input_size": 64}}, None)
    assert (card["depth"], card["grid"], card["patch_size"]) == (depth, grid and [grid] * 2, patch and [patch] * 2)
    model = built(name, kwargs)
    _, absent, lesioned, _ = _arms(model, LesionProtocol.parts)
    assert (lesioned or None) == depth
    images = noise(model, 2)
    if name == "mobilevit_xxs":  # whose blocks see every fourth pixel as an image of its own
        with raises(NotApplicableError, match=r"block 0 \(Block\) splits images into several rows"):
            representations(model, images)
        return
    if depth is None:
        with raises(NotApplicableError, match="no residual blocks"):
            representations(model, images)
        assert len(absent) == 3
        return
    found = representations(model, images)
    assert len(found) == depth and {len(each.tokens) for each in found} == {2}
    if card["prefix_tokens"] is not None and grid:
        assert found[0].tokens.shape[1] == card["prefix_tokens"] + grid**2
    row = _model_row(card | {"model": "m", "failure": None}, {})
    assert (row["depth"], row["patch_size"], row["grid"]) == (depth, patch, grid)
    assert row["kind"] == kind_of(name), "the class of the network says the same as timm's name"


def seen_pixels(model: Classifier) -> torch.Tensor:
    """Which pixels each token of the patch embedding depends on, by its gradient: bool (tokens, height, width)."""
    size = model.preprocessing.input_size
    images = torch.rand(1, 3, size, size, requires_grad=True)
    tokens = model.network.patch_embed(images)
    tokens = tokens.flatten(1, -2)[0].sum(1)
    gradients = [torch.autograd.grad(token, images, retain_graph=True)[0] for token in tokens]
    return torch.cat(gradients).abs().sum(1) > 0


@mark.parametrize(
    ("kwargs", "size", "grid", "patch"),
    [
        ({"img_size": 64, "patch_size": 16}, 64, (4, 4), (16, 16)),
        ({"img_size": 64, "patch_size": 12}, 64, (5, 5), (12, 12)),  # as 14 px of 384: the last pixels are cut off
        ({"img_size": 64, "patch_size": (16, 8)}, 64, (4, 8), (16, 8)),
        ({"patch_size": 16, "dynamic_img_size": True}, 64, (4, 4), (16, 16)),  # built for 224 px
        ({"patch_size": 16, "dynamic_img_size": True, "dynamic_img_pad": True}, 72, (5, 5), (16, 16)),
    ],
)
def test_patches_are_those_that_the_network_sees(kwargs, size, grid, patch):
    """Against gradients: the pixels behind a token are its patch, whole or as far as the image goes."""
    model = built("vit_tiny_patch16_224", {**SMALL, **kwargs}, size)
    patches = blocks.patches_of(model.network, size)
    assert (patches.grid, patches.size) == (grid, patch)
    assert patches.side == (patch[0] if patch[0] == patch[1] else None)
    seen = seen_pixels(model)
    expected = torch.zeros(grid[0] * grid[1], size, size, dtype=torch.bool)
    for row in range(grid[0]):
        for column in range(grid[1]):
            top, left = row * patch[0], column * patch[1]
            expected[row * grid[1] + column, top : top + patch[0], left : left + patch[1]] = True
    assert torch.equal(seen, expected)
    assert representations(model, noise(model, 1))[0].tokens.shape[1] == 1 + len(seen)
    logits = model(noise(model, 1))
    with intervene(model, LocalAttention(1.0)):  # a mask of as many tokens, that hides none
        assert torch.allclose(model(noise(model, 1)), logits, atol=1e-5)
    assert DistanceMeter(model)._distances.shape[1:] == (len(seen), len(seen))


def test_a_real_model_whose_patches_do_not_divide_its_input():
    """SigLIP's patches of 14 px at 384 px: 27 a side, of which 378 pixels are seen."""
    spec = {"timm": "vit_so400m_patch14_siglip_384", "kwargs": {"depth": 1, "num_classes": 1000}}
    card = models.describe(spec, None)
    assert (card["grid"], card["patch_size"]) == ([27, 27], [14, 14])
    row = _model_row(card | {"model": "siglip", "failure": None}, {})
    assert (row["patch_size"], row["grid"], row["input_size"]) == (approx(14), 27, 384)
