"""How fast models of full size are on this machine, for ``withstand plan``."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from withstand import devices, models
from withstand.computing import Computing
from withstand.planning import anatomy

SECONDS = 1.0
"""Least time that passes are measured over."""

BATCH = {"cuda": 64, "cpu": 4}


def measure(name: str, spec: Mapping, weights, computing: Computing) -> dict | None:
    """Seconds of a forward pass of one image, in batches: a line of ``results/rates.jsonl``. On a CPU of one core.

    Args:
        weights: the file of the model's weights, where it says what the model is.

    Returns None for a model that breaks, of which the jobs of the rehearsal tell.
    """
    facts = anatomy.look_into(spec, weights)
    if facts.failure:
        return None
    device = "cuda" if devices.asked() != "cpu" and torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        architecture = models.resolve(spec, weights)
        network = computing.prepare(models.build(architecture), device)
        model = models.Classifier(network, architecture.preprocessing, "", computing).eval().to(device)
        size = architecture.preprocessing.input_size
        seconds = _seconds(model, torch.rand(BATCH[device], 3, size, size, device=device))
    except Exception:  # whatever a user's code raises
        return None
    finally:
        torch.set_num_threads(threads)
    named = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    about = {"device": named, "model": name, "precision": computing.numbers(device)}
    return about | {"flops": facts.flops, "values": facts.values, "seconds": seconds}


@torch.inference_mode()
def _seconds(model: torch.nn.Module, images: torch.Tensor) -> float:
    """Of one image, after a pass that warms up."""

    def passed() -> float:
        model(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    began, passes = passed(), 0
    while (now := passed()) - began < SECONDS or not passes:
        passes += 1
    return (now - began) / ((passes + 1) * len(images))
