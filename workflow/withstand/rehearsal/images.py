"""Made-up image sets in the layouts of the published ones: their names, folders, lists and formats, and noise inside.

Every class that a set must have is there, with one image; every image is one of a few.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from withstand.datasets import catalogue, cifar, cifar_c, cue_conflict, imagenette, label_spaces, tiny_imagenet
from withstand.datasets.registry import open_source
from withstand.datasets.shape_categories import CATEGORIES
from withstand.errors import WithstandError

Files = Iterable[tuple[str, bytes]]
"""Names inside of an archive, and contents."""

PICTURES = 12
"""Different pictures in a set."""

_SHAPES = ((320, 240), (240, 320), (256, 256), (375, 250))
"""Width and height of photographs, which are of many sizes."""


def picture(number: int, size: int | None = None, kind: str = "JPEG") -> bytes:
    """An encoded picture of coarse noise, one of ``PICTURES``; of its own width and height where no size is given.

    Some are grey, as some of ImageNet's photographs are.
    """
    return _picture(number % PICTURES, size, kind)


@lru_cache
def _picture(number: int, size: int | None, kind: str) -> bytes:
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    shape = (size, size) if size else _SHAPES[number % len(_SHAPES)]
    image = Image.fromarray(coarse).resize(shape, Image.BICUBIC if kind == "JPEG" else Image.NEAREST)
    if kind == "JPEG" and number == PICTURES - 1:
        image = image.convert("L")
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def pixels(count: int, size: int, seed: int) -> np.ndarray:
    """Pictures without a format: uint8 (count, size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def samples(kind: str, spec: Mapping) -> dict[str, int]:
    """How many samples a made-up set has, by its key in ``catalogue.SAMPLES``."""
    if kind in ("imagenet_a", "imagenet_r", "tiny_imagenet", "tiny_imagenet_c"):
        return {kind: tiny_imagenet.CLASSES}
    if kind in ("imagenet", "imagenet_v2", "imagenet_sketch"):
        return {kind: label_spaces.KNOWN[label_spaces.IMAGENET]}
    if kind == "imagenette":
        return {f"imagenette_{split}": len(imagenette.CLASSES) for split in ("train", "val")}
    if kind == "cifar":
        return {"cifar_test": 2 * spec["classes"], "cifar_train": 10 * spec["classes"]}
    return {}


def files(kind: str, spec: Mapping, clean: Sequence[tuple[str, int]] = ()) -> Files:
    """What the archives of a published set hold.

    Args:
        kind: of a source, or of a corrupted set.
        spec: its options.
        clean: sample ids and labels that a corrupted set has copies of.

    Raises:
        WithstandError: if the layout of the kind is not known here.
    """
    makers = {
        "imagenet_a": lambda: _folders("imagenet-a", _wnids("imagenet_a"), "0.{:06d}_fox _ fox_0.9.jpg"),
        "imagenet_r": lambda: _folders("imagenet-r", _wnids("imagenet_r"), "art_{}.jpg"),
        "imagenet_v2": lambda: _folders(
            f"imagenetv2-{spec['variant']}-format-val", map(str, range(len(label_spaces.wnids()))), "{:040x}.jpeg"
        ),
        "imagenet_sketch": lambda: _folders("sketch", label_spaces.wnids(), "sketch_{}.JPEG"),
        "imagenette": lambda: _imagenette(spec["side"]),
        "cue_conflict": _cue_conflict,
        "cifar": lambda: _cifar(spec["classes"]),
        "cifar_c": lambda: _cifar_c(spec["classes"], spec["corruptions"]),
        "tiny_imagenet": _tiny_imagenet,
        "imagenet_c": lambda: _imagenet_c(spec, clean),
        "tiny_imagenet_c": lambda: _tiny_imagenet_c(spec),
    }
    if kind not in makers:
        raise WithstandError(f"no made-up images of the kind {kind}")
    return makers[kind]()


def imagenet(spec: Mapping, folder: Path) -> dict:
    """Write validation images of ImageNet into a folder, with labels where they are flat; returns the options that name
    them."""
    place = folder / "val"
    if not place.exists():  # datasets may share it
        for name, data in _imagenet(spec.get("labels")):
            write(place / name, [], data)
        write(folder / "labels.txt", [], "\n".join(label_spaces.wnids()).encode())
    return {"path": str(place), **({"labels": str(folder / "labels.txt")} if spec.get("labels") else {})}


def own_files(spec: Mapping, folder: Path) -> dict:
    """Write what lies at the paths of a source of a user's own; returns the options that name it."""
    shutil.rmtree(folder, ignore_errors=True)  # another dataset's, which are the same
    source = open_source(spec)
    names = source.class_names()
    if spec["kind"] == "arrays":
        folder.mkdir(parents=True)
        np.save(folder / "images.npy", pixels(2 * len(names), spec["size"], 0))
        np.save(folder / "labels.npy", np.arange(2 * len(names)) % len(names))
        return {"images_path": str(folder / "images.npy"), "labels_path": str(folder / "labels.npy")}
    called = {"wnid": label_spaces.wnids(), "index": list(map(str, range(len(names)))), "name": names}[spec["named_by"]]
    called = [name for name in called if called.count(name) == 1]
    if spec["kind"] == "parquet":
        folder.mkdir(parents=True)
        _parquet(folder / "0000.parquet", called, spec)
        return {"path": str(folder)}
    found = {f"{name}/{number}.jpg": picture(number) for number, name in enumerate(called)}
    if spec.get("labels"):
        found = {f"{number}.jpg": picture(number) for number in range(len(called))}
        rows = "".join(f"{number}.jpg,{name}\n" for number, name in enumerate(called))
        write(folder / "labels.csv", [], f"file,label\n{rows}".encode())
    for name, data in found.items():
        write(folder / "images" / name, [], data)
    given = {"labels": str(folder / "labels.csv")} if spec.get("labels") else {}
    return {"path": str(folder / "images"), **given}


def write(path: Path, content: Files, data: bytes | None = None) -> None:
    """Write an archive in the format that its name says, or plain data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is not None:
        path.write_bytes(data)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in content:
                archive.writestr(name, part)
    else:
        # the archives of ImageNet-V2 are plain tar files under such names
        is_packed = path.name.endswith((".gz", ".tgz")) and not path.name.startswith("imagenetv2")
        with gzip.open(path, "wb", 1) if is_packed else path.open("wb") as file, tarfile.open(None, "w", file) as tar:
            for name, part in content:
                member = tarfile.TarInfo(name)
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))


def _wnids(name: str) -> Sequence[str]:
    return label_spaces.imagenet_subset(name)


def _folders(root: str, classes: Iterable[str], name: str) -> Files:
    return ((f"{root}/{folder}/{name.format(number)}", picture(number)) for number, folder in enumerate(classes))


def _imagenet(labels: str | None) -> Files:
    """In a folder for each WordNet id; flat where a file of labels is given."""
    for number, wnid in enumerate(label_spaces.wnids()):
        name = f"ILSVRC2012_val_{number + 1:08d}.JPEG"
        yield (name if labels else f"{wnid}/{name}"), picture(number)


def _imagenette(side: str) -> Files:
    root = "imagenette2" if side == "full" else f"imagenette2-{side}"
    for split in ("train", "val"):
        for number, output in enumerate(imagenette.CLASSES):
            wnid = label_spaces.wnids()[output]
            yield f"{root}/{split}/{wnid}/{wnid}_{number}.JPEG", picture(number)


def _cue_conflict() -> Files:
    for shape in CATEGORIES:
        for number, texture in enumerate(list(CATEGORIES) * (cue_conflict.A_SHAPE // len(CATEGORIES))):
            name = f"cue-conflict/{shape}/{shape}{number + 1}-{texture}{number + 1}.png"
            yield name, picture(number, cue_conflict.SIZE, "PNG")


def _cifar(classes: int) -> Files:
    count = samples("cifar", {"classes": classes})
    root = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[classes]
    listed = "\n".join(label_spaces.class_names(f"cifar-{classes}")) + "\n"
    yield f"{root}/{ {10: 'batches.meta.txt', 100: 'fine_label_names.txt'}[classes] }", listed.encode()
    splits = {"test": {10: ["test_batch.bin"], 100: ["test.bin"]}[classes]}
    splits["train"] = {10: [f"data_batch_{part}.bin" for part in range(1, 6)], 100: ["train.bin"]}[classes]
    for split, names in splits.items():
        for part, name in enumerate(names):
            labels = np.arange(count[f"cifar_{split}"] // len(names)) % classes
            before = [labels] if classes == 10 else [labels // 5, labels]
            planes = pixels(len(labels), cifar.SIZE, part).transpose(0, 3, 1, 2).reshape(len(labels), -1)
            yield f"{root}/{name}", np.concatenate([np.stack(before, 1), planes], 1).astype(np.uint8).tobytes()


def _cifar_c(classes: int, corruptions: Sequence[str]) -> Files:
    count = 5 * samples("cifar", {"classes": classes})["cifar_test"]
    root = f"CIFAR-{classes}-C"
    for seed, corruption in enumerate(corruptions):
        yield f"{root}/{corruption}.npy", _npy(pixels(count, cifar_c.SIZE, seed))
    yield f"{root}/labels.npy", _npy(np.arange(count) % classes)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _tiny_wnids() -> list[str]:
    """Some 200 classes, in an order of their own, as the list in the archive has them."""
    return [label_spaces.wnids()[(7 * number) % 1000] for number in range(tiny_imagenet.CLASSES)]


def _tiny_imagenet() -> Files:
    wnids = _tiny_wnids()
    lines = [f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62" for number, wnid in enumerate(wnids)]
    yield "tiny-imagenet-200/wnids.txt", "\n".join(wnids).encode()
    yield "tiny-imagenet-200/val/val_annotations.txt", "\n".join(lines).encode()
    for number in range(len(wnids)):
        yield f"tiny-imagenet-200/val/images/val_{number}.JPEG", picture(number, tiny_imagenet.SIZE)


def _conditions(spec: Mapping) -> Iterator[tuple[str, int]]:
    return ((corruption, severity) for corruption in spec["corruptions"] for severity in spec["severities"])


def _imagenet_c(spec: Mapping, clean: Sequence[tuple[str, int]]) -> Files:
    for corruption, severity in _conditions(spec):
        for number, (sample_id, label) in enumerate(clean):
            place = f"{corruption}/{severity}/{label_spaces.wnids()[label]}/{sample_id}.JPEG"
            yield place, picture(number + severity, 224)


def _tiny_imagenet_c(spec: Mapping) -> Files:
    conditions = list(_conditions(spec)) if spec.get("corruptions") else [("gaussian_noise", 1)]
    for corruption, severity in conditions:
        for number, wnid in enumerate(_tiny_wnids()):
            place = f"Tiny-ImageNet-C/{corruption}/{severity}/{wnid}/test_{number}.JPEG"
            yield place, picture(number + severity, tiny_imagenet.SIZE)


def _parquet(path: Path, called: Sequence[str], spec: Mapping) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": picture(number), "path": f"{number}.jpg"} for number in range(len(called))]
    labels = list(range(len(called))) if spec["named_by"] == "index" else list(called)
    pq.write_table(pa.table({spec["image_column"]: images, spec["label_column"]: labels}), path)


def archives(kind: str, spec: Mapping, clean: Sequence[tuple[str, int]], folder: Path) -> list[Path]:
    """Write the made-up archives of a published set, under the names of the published ones; returns them."""
    wanted = open_source(spec).archives()
    written = []
    for archive in wanted:
        part = spec
        if kind == "imagenet_c":  # an archive for each group of corruptions
            group = next(group for group, known in catalogue.IMAGENET_C.items() if known == archive)
            part = {**spec, "corruptions": [name for name in spec["corruptions"] if name in group]}
        elif kind == "tiny_imagenet_c" and spec.get("corruptions"):
            group = next(group for group, known in catalogue.TINY_IMAGENET_C.items() if known == archive)
            part = {**spec, "corruptions": [name for name in spec["corruptions"] if name in group]}
        path = folder / archive.name
        write(path, files(kind, part, clean))
        written.append(path)
    return written
