"""How models compute: the numbers, what is recorded of them, and that nothing else changes with them."""

import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from test_inference import store
from torch import nn

from test_models import own
from withstand import inference, models, zoo
from withstand.computing import Computing
from withstand.config import ConfigError, load_study
from withstand.errors import ModelError, WithstandError
from withstand.inference import Forward, batches, uploaded
from withstand.models import Classifier, Preprocessing
from withstand.predictions import read_facts
from withstand.steps.models import write_card
from withstand.steps.predict import ImageSet, predict
from workflow_project import PROJECT, STUDY

PLAIN = Preprocessing(1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def sum_of_channels(computing: Computing) -> Classifier:
    """A model of one pixel whose logits are its red, and the sum of its channels."""
    layer = nn.Linear(3, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    network = computing.prepare(nn.Sequential(nn.Flatten(), layer).requires_grad_(False), "cpu")
    return Classifier(network, PLAIN, computing=computing).eval()


def test_bfloat16_keeps_seven_bits_of_mantissa():
    """1/2 and three neighbours: what is finer than 2^-8 of a number is rounded to the even of two neighbours."""
    pixels = torch.tensor([[1 / 2, 0, 0], [1 / 2 + 2**-8, 0, 0], [1 / 2 + 2**-9, 0, 0], [1 / 2 + 2**-10, 0, 0]])
    images = pixels.view(4, 3, 1, 1)
    exact = sum_of_channels(Computing())(images)
    rounded = sum_of_channels(Computing("bfloat16"))(images)
    assert torch.equal(exact[:, 0], pixels[:, 0])
    assert rounded.dtype == torch.bfloat16
    assert rounded[:, 0].tolist() == [0.5, 0.5 + 2**-8, 0.5, 0.5]
    for name in ("float32", "tf32"):  # a CPU has no TF32
        assert torch.equal(sum_of_channels(Computing(name))(images), exact)


def test_sums_are_finer_than_their_terms():
    """768 ones are 768, where a sum that is itself kept in bfloat16 would stop at 256."""
    layer = nn.Linear(3 * 16 * 16, 1, bias=False)
    nn.init.ones_(layer.weight)
    computing = Computing("bfloat16")
    network = nn.Sequential(nn.Flatten(), layer).requires_grad_(False)
    model = Classifier(network, Preprocessing(16, (0.0,) * 3, (1.0,) * 3), computing=computing)
    assert model(torch.ones(1, 3, 16, 16)).item() == 768


def test_numbers_of_trained_models_stay_close(pictures):
    """bfloat16 has 8 bits of precision; over a dozen layers logits are off by a few times 2^-8 of their size."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    for name in ("vit_p16_base", "resnet_gn_base"):
        exact, rounded = (
            models.load({"zoo": name}, zoo.weights(name), computing=Computing(precision))(images)
            for precision in ("float32", "bfloat16")
        )
        difference = (rounded.float() - exact).abs().max() / exact.abs().max()
        assert 2**-12 < difference < 2**-4
        assert torch.equal(rounded.argmax(1), exact.argmax(1))


def test_only_what_differs_is_said():
    assert Computing().choices() == {}
    assert Computing("bfloat16", compile=True).choices() == {"precision": "bfloat16", "compile": True}
    with pytest.raises(ValueError, match="unknown precision 'bfloat61'; did you mean 'bfloat16'"):
        Computing("bfloat61")


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True), ("bfloat16", False)])
def test_products_on_a_card_are_what_the_config_says(precision, allowed, kept_settings, monkeypatch):
    """Torch's default is TF32 in convolutions, whatever is said of float32."""
    assert torch.backends.cudnn.allow_tf32
    network = nn.Conv2d(3, 3, 1)
    monkeypatch.setattr(network, "to", lambda *args, **kwargs: network)  # no GPU is needed to see the settings
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (8, 0))
    Computing(precision).prepare(network, "cuda")
    assert torch.backends.cudnn.allow_tf32 == allowed
    assert torch.backends.cuda.matmul.allow_tf32 == allowed
    assert torch.backends.cudnn.conv.fp32_precision == ("tf32" if allowed else "none")
    assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest"), "which torch.compile asks for"


def test_layout_is_that_of_images_on_a_cpu_and_where_it_is_chosen():
    for computing, device in ((Computing(), "cpu"), (Computing(channels_last=True), "meta")):
        network = computing.prepare(nn.Conv2d(3, 8, 3), device)
        assert network.weight.is_contiguous(memory_format=torch.channels_last)
    assert not Computing().prepare(nn.Conv2d(3, 8, 3), "meta").weight.is_contiguous(memory_format=torch.channels_last)


def test_what_the_compiler_cannot_do_is_no_fault_of_the_model():
    from torch._dynamo.exc import BackendCompilerFailed, Unsupported

    message = r"cannot be compiled here .*; take inference\.compile away"
    for error in (Unsupported("no such thing"), BackendCompilerFailed(len, RuntimeError("no compiler"), None)):
        with pytest.raises(WithstandError, match=message) as told, inference.model_errors():
            raise error
        assert not isinstance(told.value, ModelError)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_answers_the_same():
    """Sums of three in float32, whatever their order, are equal within 2^-22 of their size."""
    pixels = np.arange(36, dtype=np.uint8).reshape(12, 1, 1, 3)
    plain, compiled = (sum_of_channels(Computing(compile=compile)) for compile in (False, True))
    answers = [Forward(model, 2, 8)(pixels) for model in (plain, compiled)]  # passes of 8 and 4
    assert torch.allclose(*answers, rtol=2**-22)
    assert compiled.network._compiled_call_impl is not None


def test_predictions_say_how_they_were_computed(tmp_path, samples, pictures):
    card, shard, output = tmp_path / "card.json", store(tmp_path / "0.h5", samples, pictures), tmp_path / "out.parquet"
    write_card("m", own("mean_color"), None, card)
    image_set = ImageSet("test", "clean", [shard], output)

    def made(**options) -> tuple[dict, int]:
        predict(card, None, [image_set], batch_size=8, device="cpu", code="c", **options)
        return read_facts(output), output.stat().st_mtime_ns

    facts, when = made()
    assert {key: facts[key] for key in ("dtype", "channels_last", "compile")} == {
        "dtype": "float32",
        "channels_last": False,
        "compile": False,
    }
    assert made(computing=Computing())[1] == when, "up to date"
    facts, then = made(computing=Computing("bfloat16"))
    assert then > when and facts["dtype"] == "bfloat16"
    assert facts["inputs"]["computing"] == {"precision": "bfloat16"}
    assert made(computing=Computing("tf32"))[0]["dtype"] == "float32", "a CPU has no TF32"


def study(**changes):
    return load_study(STUDY | changes)


def test_a_model_goes_before_the_study_key_by_key():
    entries = STUDY["models"]
    given = study(
        inference={"precision": "bfloat16", "compile": True},
        models=entries | {"vit": entries["vit"] | {"inference": {"compile": False}}},
    )
    assert given.computing("vit") == Computing("bfloat16")
    assert given.computing("resnet") == Computing("bfloat16", compile=True)
    assert study().computing("vit") == Computing()


def test_wrong_settings_are_told():
    with pytest.raises(ConfigError, match=r"inference\.precision: Input should be 'float32', 'tf32' or 'bfloat16'"):
        study(inference={"precision": "float16"})
    missed = STUDY["datasets"]["missed"]
    reference = missed["missed_by"] | {"inference": {"precision": "bfloat16"}}
    with pytest.raises(ConfigError, match=r"missed_by.inference has no meaning: samples are chosen in float32"):
        study(datasets=STUDY["datasets"] | {"missed": missed | {"missed_by": reference}})


def test_images_stay_here_without_a_card(samples, pictures, tmp_path):
    from withstand.images import ImageFile

    with ImageFile(store(tmp_path / "0.h5", samples, pictures)) as file:
        found = list(uploaded(batches([file], 5), torch.device("cpu")))
    assert [len(pixels) for _, pixels in found] == [5, 5, 2]
    assert np.array_equal(torch.cat([pixels for _, pixels in found]).numpy(), pictures)


_LIMITED = """
import sys
from snakemake.cli import main
from withstand import cards
cards.at_hand = lambda: 3
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (["--cores", "2"], "3"),
        (["--cores", "2", "--resources", "gpu=1"], "1"),
        (["--executor", "slurm", "--jobs", "9"], "None"),
    ],
)
def test_cards_of_this_machine_limit_jobs_of_this_machine(tmp_path, options, limit):
    snakefile = tmp_path / "Snakefile"
    told = 'print("limit", workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else None)'
    snakefile.write_text(f'include: "{PROJECT}/Snakefile"\n{told}\n')
    command = [sys.executable, "-c", _LIMITED, "--snakefile", str(snakefile), "--dry-run", "--quiet", "all", *options]
    command += [
        "--configfile",
        str(PROJECT / "config.yaml"),
        "--directory",
        str(tmp_path),
        "--workflow-profile",
        "none",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"limit {limit}" in result.stdout.splitlines(), result.stderr[-2000:]


# On a card


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["vit_p16_base", "resnet_gn_base"])
def test_a_card_answers_as_the_cpu_does(name, samples, pictures, tmp_path):
    """Predictions on a card in float32, copied from page-locked memory, against the CPU's: sums in another order."""
    shard, found = store(tmp_path / "0.h5", samples, pictures), {}
    for device in ("cpu", "cuda"):
        model = models.load({"zoo": name}, zoo.weights(name), device)
        image_set = ImageSet("test", "clean", [shard], tmp_path / f"{device}.parquet")
        inference.predict_set(
            model,
            image_set.shards({}, device),
            image_set.output,
            images=12,
            outputs=10,
            facts={"model": "m", "dataset": "test", "family": "clean", "policy": "stored"},
            batch_size=5,
            device=device,
        )
        found[device] = pq.read_table(image_set.output).to_pandas()
    assert np.array_equal(found["cpu"]["sample_id"], found["cuda"]["sample_id"])
    assert np.allclose(found["cpu"]["loss"], found["cuda"]["loss"], atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_lower_precision_is_lower_on_a_card(precision, pictures):
    images = torch.from_numpy(pictures).cuda().permute(0, 3, 1, 2).float() / 255
    exact, rounded = (
        models.load({"zoo": "resnet_gn_base"}, zoo.weights("resnet_gn_base"), "cuda", Computing(chosen))(images).float()
        for chosen in ("float32", precision)
    )
    difference = ((rounded - exact).abs().max() / exact.abs().max()).item()
    assert 2**-16 < difference < 2**-4
