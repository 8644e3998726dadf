"""What is inferred of models from timm's names: their family, what claims count them as, and their pre-training."""

import pytest
import timm
from timm.models import get_pretrained_cfg

from withstand import published, timm_index
from withstand.config import ModelEntry, Study
from withstand.lineage import RESNET, VIT, family_of, kind_of, pretraining_of

ODD = [
    # name, kind, pre-training set
    ("vit_base_patch16_224.augreg_in21k_ft_in1k", VIT, "ImageNet-21k"),
    ("vit_base_patch16_224.augreg_in1k", VIT, "ImageNet-1k"),
    ("vit_base_patch16_224.mae", VIT, "ImageNet-1k"),
    ("vit_base_patch16_224.dino", VIT, "ImageNet-1k"),
    ("vit_base_patch16_224_miil.in21k_ft_in1k", VIT, "ImageNet-21k"),
    ("vit_base_patch16_clip_224.openai", VIT, "WIT-400M"),
    ("vit_base_patch16_clip_224.openai_ft_in12k_in1k", VIT, "WIT-400M"),
    ("vit_large_patch14_clip_224.laion2b_ft_in12k_in1k", VIT, "LAION-2B"),
    ("vit_base_patch32_clip_224.laion400m_e32", VIT, "LAION-400M"),
    ("vit_base_patch32_clip_224.datacompxl", VIT, "DataComp-1B"),
    ("vit_base_patch32_clip_224.metaclip_400m", VIT, "MetaCLIP-400M"),
    ("vit_huge_patch14_clip_224.dfn5b", VIT, "DFN-5B"),
    ("vit_so400m_patch14_siglip_378.webli_ft_in1k", VIT, "WebLI"),
    ("vit_small_patch14_reg4_dinov2.lvd142m", VIT, "LVD-142M"),
    ("vit_mediumd_patch16_reg4_gap_256.sbb2_e200_in12k_ft_in1k", VIT, "ImageNet-12k"),
    ("vit_relpos_base_patch16_224.sw_in1k", VIT, "ImageNet-1k"),
    ("flexivit_base.1000ep_in21k", VIT, "ImageNet-21k"),
    ("deit_small_patch16_224.fb_in1k", VIT, "ImageNet-1k"),
    ("deit3_base_patch16_224.fb_in22k_ft_in1k", VIT, "ImageNet-21k"),
    ("beit_base_patch16_224.in22k_ft_in22k_in1k", VIT, "ImageNet-21k"),
    ("beitv2_base_patch16_224.in1k_ft_in22k_in1k", VIT, "ImageNet-21k"),
    ("eva02_large_patch14_448.mim_m38m_ft_in22k_in1k", VIT, "Merged-38M"),
    ("eva02_base_patch14_448.mim_in22k_ft_in1k", VIT, "ImageNet-21k"),
    ("eva_giant_patch14_336.clip_ft_in1k", VIT, None),  # of a set that the tag does not name
    ("vit_large_patch16_dinov3.sat493m", VIT, "SAT-493M"),
    ("beit3_base_patch16_224.indomain_in22k_ft_in1k", VIT, None),  # and of pairs of images and texts
    ("resnet50.a1_in1k", RESNET, "ImageNet-1k"),
    ("resnet50.fb_swsl_ig1b_ft_in1k", RESNET, "IG-940M"),
    ("resnet50_clip.openai", RESNET, "WIT-400M"),
    ("resnet50x4_clip.openai", RESNET, "WIT-400M"),
    ("resnet50_clip.yfcc15m", RESNET, "YFCC-15M"),
    ("resnetv2_50x1_bit.goog_in21k", RESNET, "ImageNet-21k"),
    ("resnetv2_50x1_bit.goog_distilled_in1k", RESNET, "ImageNet-1k"),
    ("resnext101_32x8d.fb_wsl_ig1b_ft_in1k", RESNET, "IG-940M"),
    ("seresnext101d_32x8d.ah_in1k", RESNET, "ImageNet-1k"),
    ("legacy_seresnet50.in1k", RESNET, "ImageNet-1k"),
    ("wide_resnet50_2.tv2_in1k", RESNET, "ImageNet-1k"),
    ("vit_base_r50_s16_384.orig_in21k_ft_in1k", None, "ImageNet-21k"),  # a hybrid
    ("vit_base_mci_224.apple_mclip_lt", None, None),
    ("vitamin_small_224.datacomp1b_clip", None, "DataComp-1B"),
    ("samvit_base_patch16.sa1b", None, "SA-1B"),
    ("inception_resnet_v2.tf_in1k", None, "ImageNet-1k"),
    ("cspresnet50.ra_in1k", None, "ImageNet-1k"),
    ("skresnet18.ra_in1k", None, "ImageNet-1k"),
    ("lambda_resnet26t.c1_in1k", None, "ImageNet-1k"),
    ("swin_base_patch4_window7_224.ms_in22k_ft_in1k", None, "ImageNet-21k"),
    ("convnext_base.clip_laiona_augreg_ft_in1k_384", None, "LAION-Aesthetics"),
    ("convnextv2_tiny.fcmae_ft_in22k_in1k", None, "ImageNet-21k"),
    ("maxvit_base_tf_512.in21k_ft_in1k", None, "ImageNet-21k"),
    ("tf_efficientnet_b0.ns_jft_in1k", None, "JFT-300M"),
    ("regnety_160.swag_ft_in1k", None, "IG-3.6B"),
    ("mobilenetv3_large_100.miil_in21k_ft_in1k", None, "ImageNet-21k-P"),
    ("mvitv2_base_cls.fb_inw21k", None, "ImageNet-W21"),
    ("hgnet_tiny.ssld_in1k", None, None),  # with four million images more, without labels
]

SILENT = {
    *("apple_mclip", "apple_mclip_lt", "apple_pt", "apple_pt_dist", "c_radio", "clip_ft_in1k", "fb", "fb_tiling"),
    *("metaclip2_worldwide", "metaclip_altogether", "msft_florence2", "ogvl_2pt5", "ogvl_dist", "pt"),
    *("robbyant", "indomain_pt", "indomain_in22k_ft_in1k"),
}
"""Tags that do not say what models were pre-trained on; and some kinds of them, below."""


@pytest.mark.parametrize(("name", "kind", "dataset"), ODD)
def test_odd_names_are_read_right(name, kind, dataset):
    assert name in timm.list_pretrained()
    assert kind_of(name) == kind
    assert (pretraining_of(name) or {}).get("dataset") == dataset


def test_every_pretrained_name_tells_its_set_or_is_known_not_to():
    """A tag of another version of timm that is read as silent fails here."""
    silent = {name.partition(".")[2] for name in timm.list_pretrained() if pretraining_of(name) is None}
    kinds = ("ssld", "pali", "qwen", "gemma", "deepseek", "fb_r896", "fb_r1024")
    assert {tag for tag in silent if not any(part in tag for part in kinds)} == SILENT


def test_sets_agree_with_the_classes_that_weights_tell_apart():
    """The number of outputs says which ImageNet a classifier was trained on last: the largest set is no smaller."""
    images = {row["dataset"]: int(row["images"] or 0) for row in published.pretraining_sets()}
    last = {1000: "ImageNet-1k", 11221: "ImageNet-21k-P", 11821: "ImageNet-12k"}
    last |= dict.fromkeys((21841, 21842, 21843), "ImageNet-21k")
    seen = set()
    for name in timm.list_pretrained():
        found, outputs = pretraining_of(name), get_pretrained_cfg(name).num_classes
        if found and outputs in last:
            assert images[found["dataset"]] >= images[last[outputs]], name
            seen.add(outputs)
    assert seen == last.keys()


def test_names_of_one_module_are_of_one_kind():
    """But for a module of many architectures."""
    kinds = {}
    for name, module in timm_index.modules().items():
        kinds.setdefault(module, set()).add(kind_of(name))
        assert family_of(name)
        if kind_of(name):
            assert family_of(name) == kind_of(name)
    assert {module for module, found in kinds.items() if len(found) > 1} == {"byobnet"}


def test_the_module_counts_where_timm_does_not_know_the_name():
    assert kind_of("mine:network", "vision_transformer") == kind_of(None, "deit") == VIT
    assert kind_of(None, "resnet") == RESNET
    assert kind_of(None, None) is kind_of("mine:vit", None) is kind_of(None, "byobnet") is None


IMAGENET = {"dataset": "ImageNet-1k", "images": 1281167}


@pytest.mark.parametrize(
    ("entry", "expected", "inferred"),
    [
        (
            {"timm": "vit_base_patch16_224.augreg_in21k_ft_in1k"},
            {"family": VIT, "kind": VIT, "pretraining": {"dataset": "ImageNet-21k", "images": 14197122}},
            ["family", "pretraining"],
        ),
        (
            {"timm": "swin_tiny_patch4_window7_224.ms_in1k", "label": "CLIP ResNet"},
            {"family": "Swin", "pretraining": IMAGENET},
            ["family", "pretraining"],
        ),
        (  # the config comes first, and family is a name: it does not change the kind
            {"timm": "resnet50.a1_in1k", "family": "ViT", "pretraining": {"dataset": "mine", "images": 5}},
            {"family": "ViT", "kind": RESNET, "pretraining": {"dataset": "mine", "images": 5}},
            [],
        ),
        (
            {"timm": "resnet50.a1_in1k", "kind": "other"},
            {"family": RESNET, "kind": "other", "pretraining": IMAGENET},
            ["family", "pretraining"],
        ),
        (  # whose weights the tag does not speak of
            {"timm": "resnet50.a1_in1k", "checkpoint": "https://a.b/c.pth"},
            {"family": RESNET, "kind": RESNET},
            ["family"],
        ),
        (
            {"zoo": "vit_p8_base_few"},
            {"family": VIT, "kind": VIT, "pretraining": {"dataset": "shapetex", "images": 4000}},
            ["family", "pretraining"],
        ),
        (
            {"recipe": "small"},
            {"family": RESNET, "kind": RESNET, "pretraining": {"dataset": "train", "images": 300}},
            ["family", "pretraining"],
        ),
        (
            {
                **{"function": "mine:network", "label_space": "x", "family": "ViT"},
                "preprocessing": {"input_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3},
            },
            {"family": "ViT"},
            [],
        ),
    ],
)
def test_what_the_config_says_comes_first_and_the_rest_is_inferred(entry, expected, inferred):
    source = {"kind": "shapetex", "split": "train"}
    study = Study(
        study="s",
        models={"m": ModelEntry(**entry)},
        datasets={
            "train": {"source": source, "samples": 300, "role": "training"},
            "test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 10},
        },
        recipes={
            "small": {"timm": "resnet18", "kwargs": {"num_classes": 10}, "dataset": "train", "validation": "test"}
        },
        images={"size": 64},
    )
    assert study.about("m") == expected | {"inferred": inferred}
