"""Google's checkpoints in timm's architectures."""

import hashlib

import numpy as np
import pytest
import torch

from google_npz import BIT, VIT, built, changed, npz, stacked_arrays
from networks import Payload
from withstand import models
from withstand.errors import ModelError
from withstand.rehearsal.google import bit_arrays, vit_arrays


@pytest.fixture(scope="module")
def vit():
    return vit_arrays(built(VIT))


@pytest.mark.parametrize(
    ("spec", "arrays_of", "depth"),
    [(VIT, vit_arrays, 3), (VIT, stacked_arrays, 3), (BIT, bit_arrays, 16)],
    ids=["vit", "stacked", "bit"],
)
def test_googles_checkpoints_give_the_originals_logits(tmp_path, spec, arrays_of, depth):
    network = built(spec)
    path = npz(tmp_path / "g.npz", arrays_of(network))
    model = models.load(spec, path)
    images = torch.rand(4, 3, model.preprocessing.input_size, model.preprocessing.input_size)
    expected = network((images - model.mean) / model.std)
    assert expected.std() > 0.1
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)
    card = models.describe(spec, path)
    assert (card["depth"], card["outputs"], card["label_space"]) == (depth, 1000, "imagenet-1k")
    assert card["weights"] == {"file": "g.npz", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_positional_embeddings_are_resized(tmp_path, vit):
    path = npz(tmp_path / "g.npz", vit)
    larger = models.load(changed(VIT, img_size=64), path).network
    assert larger.pos_embed.shape == (1, 65, 24)
    assert torch.isfinite(larger.pos_embed).all()


def with_array(name: str, *shape: int):
    return lambda arrays: arrays | {name: np.zeros(shape, np.float32)}


def without(name: str):
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("spec", "change", "message"),
    [
        (changed(VIT, depth=2), dict, "of another architecture: blocks 3 instead of 2"),
        (changed(VIT, depth=4), dict, "of another architecture: blocks 3 instead of 4"),
        (changed(VIT, num_heads=4), dict, "of another architecture: attention heads 3 instead of 4"),
        (changed(VIT, patch_size=16), dict, "of another architecture: patch size 8 instead of 16"),
        (changed(VIT, embed_dim=48), dict, "of another architecture: width 24 instead of 48"),
        (changed(VIT, num_classes=10), dict, "of another architecture: outputs 1000 instead of 10"),
        (changed(VIT, init_values=1e-5), dict, "6 weights are not in it, e.g. blocks.0.ls1.gamma"),
        (changed(VIT, qkv_bias=False), dict, r"does not fit the architecture \(AttributeError: "),
        (VIT, with_array("pre_logits/kernel", 24, 24), "pre-logits layers 1 instead of 0"),
        (VIT, without("head/bias"), "2 weights are not in it, e.g. head.weight"),
        (VIT, without("Transformer/encoder_norm/scale"), "encoder_norm/scale is not a file in the archive"),
        (VIT, without("embedding/kernel"), "kind unknown instead of ViT"),
        (BIT, dict, "kind ViT instead of BiT"),
        ({"timm": "vit_base_mci_224"}, dict, r"does not fit the architecture \(AttributeError: "),
        ({"timm": "convnext_tiny"}, dict, "timm reads .npz into ViTs and BiTs only, not into a ConvNeXt"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_told(tmp_path, vit, spec, change, message):
    path = npz(tmp_path / "g.npz", change(vit))
    for function in (models.describe, models.load):
        with pytest.raises(ModelError, match=rf"g\.npz: .*{message}") as error:
            function(spec, path)
        assert len(str(error.value).splitlines()) == 1


def test_a_shorter_resnet_takes_nothing_of_a_longer_one(tmp_path):
    """All of a ResNet-50 has its place in the file of a ResNet-101: timm's loader would be content."""
    longer = BIT | {"timm": "resnetv2_101x1_bit.goog_in21k_ft_in1k"}
    path = npz(tmp_path / "g.npz", bit_arrays(built(longer)))
    with pytest.raises(ModelError, match="blocks 33 instead of 16"):
        models.load(BIT, path)


def test_of_stacked_blocks_none_is_left_out(tmp_path):
    path = npz(tmp_path / "g.npz", stacked_arrays(built(VIT)))
    with pytest.raises(ModelError, match="blocks 3 instead of 2"):
        models.load(changed(VIT, depth=2), path)


def damage(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    other = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    return {"empty": b"", "page": b"<html></html>", "cut": content[:middle], "other": other}


@pytest.mark.parametrize("kind", ["empty", "page", "cut", "other"])
def test_a_damaged_checkpoint_is_told(tmp_path, vit, kind):
    path = npz(tmp_path / "g.npz", vit)
    path.write_bytes(damage(path.read_bytes())[kind])
    with pytest.raises(ModelError, match=r"g\.npz: no \.npz file, or a damaged one"):
        models.describe(VIT, path)


def test_no_pickle_inside_a_checkpoint_is_run(tmp_path, vit, capsys):
    for name in ("cls", "head/kernel"):
        hidden = np.empty(1, dtype=object)
        hidden[0] = Payload()
        with pytest.raises(ModelError, match="Object arrays cannot be loaded when allow_pickle=False"):
            models.load(VIT, npz(tmp_path / "g.npz", vit | {name: hidden}))
    assert "code ran" not in capsys.readouterr().out
