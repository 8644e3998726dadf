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
