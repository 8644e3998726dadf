"""The published sets: where their archives lie, what those must be, under which licence, and how many samples.

Sizes and digests are those that TensorFlow Datasets, torch-uncertainty and torchvision check; where none of them knows
one, there is none. Archives that are compressed as a whole are kept decompressed, so that they can be read in place.
"""

from __future__ import annotations

from withstand import rehearsed
from withstand.datasets.archives import Archive

SAMPLES = {
    "imagenet": 50_000,
    "imagenet_a": 7_500,
    "imagenet_r": 30_000,
    "imagenet_sketch": 50_889,
    "imagenet_v2": 10_000,
    "imagenette_train": 9_469,
    "imagenette_val": 3_925,
    "cue_conflict": 1_200,
    "cifar_train": 50_000,
    "cifar_test": 10_000,
    "tiny_imagenet": 10_000,
    "tiny_imagenet_c": 10_000,
} | rehearsed.facts().get("samples", {})

IMAGENET_BYTES = 6_744_924_160
"""Size of ILSVRC2012_img_val.tar (md5 29b22e2961454d5413ddabcf34fc5622)."""

LICENCES = {
    "imagenet": "ImageNet's terms of access: non-commercial research, no redistribution; get it from image-net.org",
    "imagenet_c": "CC BY 4.0; derived from ImageNet, whose terms hold too",
    "imagenet_a": "MIT (the collection); the photographs are their makers'",
    "imagenet_r": "MIT (the collection); the images are their makers'",
    "imagenet_v2": "MIT (the collection); the photographs are their makers'",
    "imagenet_sketch": "MIT (the collection); the sketches are their makers'",
    "imagenette": "Apache-2.0 (the selection); derived from ImageNet, whose terms hold too",
    "cue_conflict": "CC BY 4.0",
    "cifar": "none stated",
    "cifar_c": "CC BY 4.0; derived from CIFAR",
    "tiny_imagenet": "none stated; derived from ImageNet, whose terms hold too",
    "tiny_imagenet_c": "CC BY 4.0; derived from ImageNet, whose terms hold too",
}

_BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
_ZENODO = "https://zenodo.org/record"
_V2 = "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main"


def _archive(name: str, *urls: str, **known: object) -> Archive:
    """A published archive, or the made-up one that a rehearsal has in its place."""
    return Archive(name, **(rehearsed.facts().get("archives", {}).get(name) or {"urls": urls, **known}))


IMAGENET_A = (
    _archive(
        "imagenet-a.tar",
        f"{_BERKELEY}/imagenet-a.tar",
        bytes=687_552_512,
        sha256="3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
    ),
)
IMAGENET_R = (
    _archive(
        "imagenet-r.tar",
        f"{_BERKELEY}/imagenet-r.tar",
        bytes=2_191_079_936,
        sha256="18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
    ),
)
IMAGENET_SKETCH = (
    _archive(
        "ImageNet-Sketch.zip",
        "https://huggingface.co/datasets/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
        bytes=7_593_573_012,
        sha256="4d3ce6b82a7c48aabf14aeac105eb533e75707f152cc858f55bfc022031a72ed",
    ),
)


def _v2(name: str, size: int, sha256: str) -> Archive:
    return _archive(f"imagenetv2-{name}.tar.gz", f"{_V2}/imagenetv2-{name}.tar.gz", bytes=size, sha256=sha256)


IMAGENET_V2 = {
    "matched-frequency": _v2(
        "matched-frequency", 1_264_079_360, "f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c"
    ),
    "threshold0.7": _v2(
        "threshold0.7", 1_249_906_176, "32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2"
    ),
    "top-images": _v2("top-images", 1_245_927_936, "85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b"),
}


def _imagenet_c(group: str, md5: str) -> Archive:
    return _archive(f"{group}.tar", f"{_ZENODO}/2235448/files/{group}.tar", md5=md5)


IMAGENET_C = {
    ("gaussian_noise", "shot_noise", "impulse_noise"): _imagenet_c("noise", "e80562d7f6c3f8834afb1ecf27252745"),
    ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"): _imagenet_c("blur", "2d8e81fdd8e07fef67b9334fa635e45c"),
    ("frost", "snow", "fog", "brightness"): _imagenet_c("weather", "33ffea4db4d93fe4a428c40a6ce0c25d"),
    ("contrast", "elastic_transform", "pixelate", "jpeg_compression"): _imagenet_c(
        "digital", "89157860d7b10d5797849337ca2e5c03"
    ),
    ("speckle_noise", "spatter", "gaussian_blur", "saturate"): _imagenet_c("extra", "d492dfba5fc162d8ec2c3cd8ee672984"),
}


def _imagenette(name: str, size: int, md5: str) -> Archive:
    return _archive(f"{name}.tgz", f"https://s3.amazonaws.com/fast-ai-imageclas/{name}.tgz", bytes=size, md5=md5)


IMAGENETTE = {
    "full": _imagenette("imagenette2", 1_557_161_267, "fe2fc210e6bb7c5664d602c3cd71e612"),
    "320": _imagenette("imagenette2-320", 341_663_724, "3df6f0d01a2c9592104656642f5e78a3"),
    "160": _imagenette("imagenette2-160", 99_003_388, "e793b78cc4c9e9a4ccc0c1155377a412"),
}

CUE_CONFLICT = (
    _archive(
        "cue-conflict.tar.gz",
        "https://github.com/bethgelab/model-vs-human/releases/download/v0.1/cue-conflict.tar.gz",
    ),
)


def _cifar(classes: int, md5: str) -> Archive:
    name = f"cifar-{classes}-binary.tar.gz"
    return _archive(name, f"https://www.cs.toronto.edu/~kriz/{name}", md5=md5)


CIFAR = {
    10: _cifar(10, "c32a1d4ab5d03f1284b67883e8d87530"),
    100: _cifar(100, "03b5dce01913d631647c71ecec9e9cb8"),
}
CIFAR_C = {
    10: _archive(
        "CIFAR-10-C.tar",
        f"{_ZENODO}/2535967/files/CIFAR-10-C.tar",
        bytes=2_918_471_680,
        sha256="c72763e101c723b7c507b96205f7e938912a5d587376173b825850cf3cb876a7",
    ),
    100: _archive(
        "CIFAR-100-C.tar",
        f"{_ZENODO}/3555552/files/CIFAR-100-C.tar",
        bytes=2_918_473_216,
        sha256="30ee6543a1bfd049fa33834b7c1ada301e7064b7fbe8fc38340eb8b62ced4b33",
    ),
}
TINY_IMAGENET = _archive(
    "tiny-imagenet-200.zip",
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    bytes=248_100_043,
    md5="90528d7ca1a48142e341f4ef8d21d0de",
)
# record 2536630, the authors' own, has images of other classes under frost (hendrycks/robustness#60); this is a mirror
# of their other copy
_TINY_C = f"{_ZENODO}/8206060/files"
TINY_IMAGENET_C = {
    (
        *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("frost", "snow", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    ): _archive(
        "Tiny-ImageNet-C.tar",
        f"{_TINY_C}/Tiny-ImageNet-C.tar",
        bytes=1_794_775_040,
        md5="f9c9a9dbdc11469f0b850190f7ad8be1",
    ),
    ("speckle_noise", "spatter", "gaussian_blur", "saturate"): _archive(
        "Tiny-ImageNet-C-extra.tar",
        f"{_TINY_C}/Tiny-ImageNet-C-extra.tar",
        md5="0db0588d243cf403ef93449ec52b70eb",
    ),
}


def archives() -> list[Archive]:
    """All of them."""
    several = (IMAGENET_V2, IMAGENET_C, IMAGENETTE, CIFAR, CIFAR_C, TINY_IMAGENET_C)
    single = (*IMAGENET_A, *IMAGENET_R, *IMAGENET_SKETCH, *CUE_CONFLICT, TINY_IMAGENET)
    return [*single, *(archive for group in several for archive in group.values())]
