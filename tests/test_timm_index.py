import timm

from withstand import timm_index


def test_the_scan_finds_timms_own_names():
    assert timm_index.architectures() == set(timm.list_models())


def test_the_scan_finds_tags():
    tags = timm_index.tags()
    assert tags["deit_small_patch16_224"] == ("fb_in1k",)
    assert tags["vit_base_patch16_384"][0] == "augreg_in21k_ft_in1k"
    known = {name for name in timm.list_models(pretrained=True) if name.partition(".")[0] in tags}
    assert known <= {f"{architecture}.{tag}" for architecture, found in tags.items() for tag in found}


def test_the_scan_finds_what_reads_googles_checkpoints():
    found = timm_index.npz_architectures()
    assert {"vit_base_patch32_384", "vit_base_r50_s16_384", "resnetv2_50x1_bit", "deit_tiny_patch16_224"} <= found
    assert not {"resnet50", "convnext_tiny", "swin_tiny_patch4_window7_224", "mixer_b16_224"} & found
