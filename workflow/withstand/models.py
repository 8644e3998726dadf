"""Models: from an entry of the config to a classifier of pixels, and the card that describes it.

An entry's slice (see ``config.ModelEntry.source``) names an architecture; its weights lie in a file of their own.
Weights that this project trained carry their architecture and preprocessing in the header of their safetensors
file, since a timm model made with ``img_size=64`` still says 224 in its ``pretrained_cfg``.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from timm.data import create_transform, resolve_data_config
from timm.layers import HybridEmbed
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from withstand import blocks
from withstand.computing import FLOAT32, Computing
from withstand.errors import ModelError, NotApplicableError
from withstand.files import atomic_output, sha256
from withstand.npz import load_npz

HEADER = "withstand"
"""Key of our own metadata in the header of a safetensors file."""

FAILURE = "failure"
"""Key of the reason in the header of a file without weights."""


@dataclass(frozen=True)
class Preprocessing:
    """What a model wants of an image. Pixels are RGB in [0, 1] before it.

    Attributes:
        input_size: height and width, in pixels.
        mean, std: per channel, on the scale [0, 1].
        interpolation: how images of another size are resized: ``bilinear`` or ``bicubic``.
        crop_pct: the share of the resized image that a centre crop keeps, in the model's own transform.
        crop_mode: how it crops, in timm's words: ``center``, ``squash`` (to a square, before) or ``border``.
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"


@dataclass(frozen=True)
class Architecture:
    """What is needed to build a model without its weights."""

    source: str
    name: str
    kwargs: Mapping
    preprocessing: Preprocessing
    label_space: str


class Classifier(nn.Module):
    """A model of pixels: float (n, 3, height, width) in [0, 1] to logits (n, outputs).

    Resizing and normalisation happen inside, so every perturbation lives in [0, 1] pixel space.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        label_space: str = "",
        computing: Computing = FLOAT32,
    ) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.label_space = label_space
        self.computing = computing
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        size = self.preprocessing.input_size
        if images.shape[-2:] != (size, size):
            mode = self.preprocessing.interpolation
            images = functional.interpolate(images, (size, size), mode=mode, antialias=True).clamp(0, 1)
        with self.computing.products(images.device):
            return self.network(self.computing.arranged((images - self.mean) / self.std))


def own_transform(preprocessing: Preprocessing) -> Callable[[Image.Image], np.ndarray]:
    """A model's own resize and centre crop, as timm's evaluation makes it, normalisation apart.

    Returns a function of an image in RGB, of any size, that gives uint8 (input_size, input_size, 3).
    """
    transform = create_transform(
        (3, preprocessing.input_size, preprocessing.input_size),
        is_training=False,
        use_prefetcher=True,  # uint8 (3, height, width), not normalised
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
    )
    return lambda image: torch.as_tensor(transform(image)).permute(1, 2, 0).contiguous().numpy()


def load(
    spec: Mapping,
    weights: Path | None,
    device: torch.device | str = "cpu",
    computing: Computing = FLOAT32,
) -> Classifier:
    """Build the model of an entry, load its weights and put it on a device, in evaluation mode.

    Raises:
        ModelError: if the architecture cannot be built, the weights do not fit it, or it has not what the entry's
            interventions change.
    """
    architecture = resolve(spec, weights)
    network = build(architecture)
    if weights is not None:
        load_weights(network, weights)
    _intervene(network, spec, architecture)
    network = computing.prepare(network, device)
    model = Classifier(network, architecture.preprocessing, architecture.label_space, computing)
    return model.eval().requires_grad_(False).to(device)


def describe(spec: Mapping, weights: Path | None) -> dict:
    """The facts of a model card, without running the model on real memory.

    All is told of the model as it runs, under the interventions of its entry: what is removed has no parameters and
    costs no FLOPs. Returns parameters, FLOPs of one image (two a multiply-add), depth (residual blocks), grid (patches,
    vertical and horizontal) and patch size (pixels of the input, likewise), each None where :mod:`withstand.blocks`
    finds none; prefix tokens, preprocessing, label space, number of outputs, and name and digest of the weights.

    Raises:
        ModelError: if the model cannot be built, its weights do not fit, or it does not return logits.
    """
    architecture = resolve(spec, weights)
    try:
        network, shapes = _changed(architecture, spec, "meta")
        logits, flops = _trace(network, architecture, "meta")
    except ModelError:  # some code looks at values, and needs real ones
        network, shapes = _changed(architecture, spec, "cpu")
        logits, flops = _trace(network, architecture, "cpu")
    if weights is not None and weights.suffix == ".npz":
        load_npz(build(architecture), weights)
    elif weights is not None:
        _check_fit(shapes, _weight_shapes(weights), weights)
    patches = _where_there_are(blocks.patches_of, network, architecture.preprocessing.input_size)
    return {
        "architecture": {
            **{"source": architecture.source, "name": architecture.name, "kwargs": dict(architecture.kwargs)},
            "timm_module": _timm_module(network),
        },
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": flops,
        "depth": _where_there_are(lambda: len(blocks.find(network))),
        "grid": None if patches is None else list(patches.grid),
        "patch_size": None if patches is None else list(patches.size),
        "prefix_tokens": getattr(network, "num_prefix_tokens", None),
        "preprocessing": asdict(architecture.preprocessing),
        "label_space": architecture.label_space,
        "outputs": logits.shape[-1],
        "weights": None if weights is None else {"file": weights.name, "sha256": sha256(weights)},
    }


def _changed(architecture: Architecture, spec: Mapping, device: str) -> tuple[nn.Module, dict]:
    """A network with random weights under the interventions of its entry, and the shapes of its weights without."""
    network = build(architecture, device)
    shapes = _shapes(network)
    _intervene(network, spec, architecture)
    return network, shapes


def _intervene(network: nn.Module, spec: Mapping, architecture: Architecture) -> None:
    if spec.get("interventions"):
        # by name, so that its code counts for models that have some, and for no other
        interventions = importlib.import_module("withstand.interventions")
        interventions.apply(network, spec["interventions"], architecture.preprocessing.input_size)


def resolve(spec: Mapping, weights: Path | None) -> Architecture:
    """The architecture of an entry: from the header of our own weights, from timm, or from a user's function.

    Raises:
        ModelError: if it cannot be told, or the weights file says why there are no weights.
    """
    _refuse_failure(weights)
    if "timm" in spec:
        network = _build_somewhere("timm", spec["timm"], spec.get("kwargs", {}))
        overrides = dict(spec.get("preprocessing", {}))
        # the size at which timm's validation script runs a model, unless it is told --use-train-size
        defaults = resolve_data_config({}, model=network, use_test_size=overrides.pop("test_size", True))
        preprocessing = _preprocessing(defaults, overrides, spec.get("kwargs", {}))
        label_space = spec.get("label_space") or _imagenet(network, spec["timm"])
        return Architecture("timm", spec["timm"], spec.get("kwargs", {}), preprocessing, label_space)
    if "function" in spec:
        preprocessing = Preprocessing(**spec["preprocessing"])
        return Architecture("function", spec["function"], spec.get("kwargs", {}), preprocessing, spec["label_space"])
    header = read_header(weights)
    return Architecture(
        "timm",
        header["timm"],
        header["kwargs"],
        Preprocessing(**header["preprocessing"]),
        header["label_space"],
    )


def build(architecture: Architecture, device: str = "cpu") -> nn.Module:
    """The bare network with random weights; ``meta`` builds it without memory.

    Raises:
        ModelError: if the builder fails, or does not return a torch module.
    """
    return _build(architecture.source, architecture.name, architecture.kwargs, device)


def _build_somewhere(source: str, name: str, kwargs: Mapping) -> nn.Module:
    try:
        return _build(source, name, kwargs, "meta")
    except ModelError:
        return _build(source, name, kwargs, "cpu")


def _build(source: str, name: str, kwargs: Mapping, device: str) -> nn.Module:
    torch.manual_seed(0)  # weights that no file sets are the same in every job
    try:
        with torch.device(device):
            if source == "timm":
                network = timm.create_model(name, pretrained=False, **kwargs)
            else:
                network = import_function(name)(**kwargs)
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"{name} with {dict(kwargs)} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name} returned a {type(network).__name__}, not a torch module")
    return network.eval().requires_grad_(False)


def import_function(path: str) -> Callable:
    """The function that ``module:function`` names; the working directory is searched first."""
    module_name, _, function_name = path.partition(":")
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.insert(0, working_directory)
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise ModelError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file: safetensors, or a torch file of nothing but tensors. No pickle is run.

    Raises:
        ModelError: if the file is in another format.
        OSError: if it cannot be read at all.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"{path}: neither safetensors nor a plain state dict ({type(error).__name__}). Pickled objects are never "
            "loaded: save the state dict alone, with safetensors or torch.save(model.state_dict(), path)"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds no state dict (names mapped to tensors)")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights into a network of the same shapes; half precision is widened to the network's own.

    Raises:
        ModelError: if names or shapes differ.
    """
    if path.suffix == ".npz":
        load_npz(network, path)
        return
    state = read_state_dict(path)
    _check_fit(_shapes(network), {name: tuple(tensor.shape) for name, tensor in state.items()}, path)
    network.load_state_dict(state)


def save_weights(path: Path, state: Mapping[str, torch.Tensor], header: Mapping | None = None) -> None:
    """Write a safetensors file atomically, with our own header if there is one."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"format": "pt"} | ({HEADER: json.dumps(header, sort_keys=True)} if header else {})
    with atomic_output(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=metadata)
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read


def save_failure(path: Path, reason: str) -> None:
    """Write a weights file without weights, for a model that can have none; whoever loads it is told the reason."""
    save_weights(path, {}, {FAILURE: reason})


def read_header(path: Path) -> dict:
    """Our own header of a safetensors file: architecture, preprocessing, label space, recipe, accuracy.

    Raises:
        ModelError: if the file is none of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()[HEADER])
    except (SafetensorError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not weights that withstand trained ({type(error).__name__})") from error


def _refuse_failure(weights: Path | None) -> None:
    if weights is None or weights.suffix != ".safetensors":
        return
    try:
        header = read_header(weights)
    except ModelError:  # weights of another origin
        return
    if FAILURE in header:
        raise ModelError(header[FAILURE])


def _weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if path.suffix != ".safetensors":
        return {name: tuple(tensor.shape) for name, tensor in read_state_dict(path).items()}
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from error


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _check_fit(expected: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    missing = sorted(expected.keys() - shapes.keys())
    unknown = sorted(shapes.keys() - expected.keys())
    differing = sorted(name for name in expected.keys() & shapes.keys() if expected[name] != shapes[name])
    problems = [f"{len(missing)} missing, e.g. {missing[0]}"] if missing else []
    problems += [f"{len(unknown)} unknown, e.g. {unknown[0]}"] if unknown else []
    problems += [
        f"{len(differing)} of another shape, e.g. {name} {shapes[name]} instead of {expected[name]}"
        for name in differing[:1]
    ]
    if problems:
        raise ModelError(f"{path}: the weights do not fit the architecture: {'; '.join(problems)}")


def _preprocessing(defaults: Mapping, overrides: Mapping, kwargs: Mapping) -> Preprocessing:
    values = {
        "input_size": kwargs.get("img_size", defaults["input_size"][-1]),
        "mean": tuple(defaults["mean"]),
        "std": tuple(defaults["std"]),
        "interpolation": defaults["interpolation"],
        "crop_pct": defaults["crop_pct"],
        "crop_mode": defaults["crop_mode"],
    }
    return Preprocessing(**(values | dict(overrides)))


def _imagenet(network: nn.Module, name: str) -> str:
    outputs = getattr(network, "num_classes", None)
    if outputs == 0:
        raise ModelError(f"{name} gives features, no logits: its weights have no classifier")
    return "imagenet-1k" if outputs == 1000 else f"{outputs} classes"


def _trace(network: nn.Module, architecture: Architecture, device: str) -> tuple[torch.Tensor, int]:
    """Logits and FLOPs of one image, on a device where ``meta`` computes shapes alone."""
    counter = FlopCounterMode(display=False)
    logits = pass_one_image(network, architecture, device, counter)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 1 or logits.shape[1] < 2:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ModelError(f"{architecture.name} returns {found} for one image, expected logits (1, classes)")
    return logits, counter.get_total_flops()


def pass_one_image(network: nn.Module, architecture: Architecture, device: str, counter: FlopCounterMode) -> object:
    """What a network answers to one image, with its FLOPs counted.

    Raises:
        ModelError: if it fails.
    """
    size = architecture.preprocessing.input_size
    try:
        with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():  # counters of older torch know no fused attention
            return network(torch.zeros(1, 3, size, size, device=device))
    except MemoryError:
        raise
    except Exception as error:
        raise ModelError(
            f"{architecture.name} fails on one {size} px image: {type(error).__name__}: {error}"
        ) from error


def _where_there_are(ask: Callable, *given: object) -> object | None:
    try:
        return ask(*given)
    except NotApplicableError:
        return None


def _timm_module(network: nn.Module) -> str | None:
    """The module of timm that defines a network's class; None for a class of a user's own, and for hybrids, which have
    the class of a vision transformer."""
    package, _, module = type(network).__module__.rpartition(".")
    is_hybrid = isinstance(getattr(network, "patch_embed", None), HybridEmbed)
    return module if package == "timm.models" and not is_hybrid else None
