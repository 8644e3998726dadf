"""Weights from elsewhere: the hub, addresses, Google's checkpoints. Servers are local ones."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from huggingface_hub import constants
from PIL import Image

from google_npz import VIT, built, changed, npz, randomise
from networks import Payload
from withstand import models
from withstand.errors import ModelError, WithstandError
from withstand.rehearsal.google import vit_arrays
from withstand.steps.models import fetch_checkpoint, fetch_timm_weights

TESTED = "test_vit.r160_in1k"
"""The smallest of timm's architectures."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Answer:
    """What a server says to one request."""

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Server(ThreadingHTTPServer):
    """Answers by path; what it was asked is kept."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.default = Answer(404)
        self.asked: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def give(self, path: str, content: bytes, **headers: str) -> str:
        """Serve a file; returns its address."""
        self.answers[path] = Answer(200, content, {name.replace("_", "-"): value for name, value in headers.items()})
        return self.url + path

    def give_weights(self, name: str, content: bytes) -> None:
        """Serve weights as the hub does."""
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.give(f"/timm/{name}/resolve/main/model.safetensors", content, ETag=etag, X_Repo_Commit=COMMIT)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        answer = self.server.answers.get(self.path, self.server.default)
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.content)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """A server in the place of the hub, with an empty cache and no waiting between attempts."""
    use_hub(monkeypatch, server.url, tmp_path)
    return server


def use_hub(monkeypatch, url, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(
        "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False
    )  # below 1.0
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    for variable in ("WITHSTAND_OFFLINE", "WITHSTAND_MIRROR"):
        monkeypatch.delenv(variable, raising=False)


def weights_bytes(network) -> bytes:
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


@pytest.fixture(scope="module")
def original():
    return randomise(timm.create_model(TESTED, pretrained=False))


def failure(path) -> str:
    with pytest.raises(ModelError) as error:
        models.resolve({"timm": TESTED}, path)
    return str(error.value)


def test_pretrained_weights_come_from_the_hub_as_they_are(hub, tmp_path, original):
    hub.give_weights(TESTED, weights_bytes(original))
    fetch_timm_weights(TESTED, {}, tmp_path / "w.safetensors")
    model = models.load({"timm": TESTED}, tmp_path / "w.safetensors")
    images = torch.rand(2, 3, 160, 160)
    # the channels lie last here, so convolutions add up in another order
    assert torch.allclose(model(images), original((images - model.mean) / model.std), rtol=1e-4, atol=1e-4)
    assert model.label_space == "imagenet-1k"


def says(status: int, **headers: str) -> Answer:
    return Answer(status, b"<html>no</html>", {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "answer",
    [
        says(404),
        says(404, X_Error_Code="RepoNotFound"),
        says(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT),
        says(401),
        says(401, X_Error_Code="GatedRepo", X_Error_Message="Access to it is restricted."),
        says(403, X_Error_Code="GatedRepo", X_Error_Message="Access to it is restricted."),
        says(403),
    ],
    ids=lambda answer: f"{answer.status}-{answer.headers.get('X-Error-Code', 'plain')}",
)
def test_weights_that_the_hub_does_not_give_are_a_failure_of_the_model(hub, tmp_path, answer):
    hub.default = answer
    output = tmp_path / "w.safetensors"
    fetch_timm_weights(TESTED, {}, output)
    reason = failure(output)
    assert reason.startswith(f"{TESTED}: no pretrained weights to be had: ")
    assert reason.endswith(f"(delete {output} to ask again)")
    assert len(reason.splitlines()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        says(503),
        says(429),
        says(401, X_Error_Message="Invalid credentials in Authorization header"),
        says(200),  # the page of a network that wants a login first
    ],
    ids=lambda answer: str(answer.status),
)
def test_a_hub_that_is_out_of_order_is_no_fault_of_the_model(hub, tmp_path, answer):
    hub.default = answer
    with pytest.raises(WithstandError, match=f"{TESTED}: pretrained weights cannot be fetched: .") as error:
        fetch_timm_weights(TESTED, {}, tmp_path / "w.safetensors")
    assert not isinstance(error.value, ModelError)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "w.safetensors").exists()


def test_a_hub_that_cannot_be_reached_is_no_fault_of_the_model(tmp_path, monkeypatch):
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)
    with pytest.raises(WithstandError, match=r"pretrained weights cannot be fetched: Connect(ion)?Error") as error:
        fetch_timm_weights(TESTED, {}, tmp_path / "w.safetensors")
    assert not isinstance(error.value, ModelError)


@pytest.mark.parametrize(("status", "final"), [(404, True), (503, False)])
def test_weights_outside_the_hub_go_by_the_same_rule(tmp_path, monkeypatch, status, final):
    def answer(*arguments, **rest):
        raise HTTPError("https://example.org/w.pth", status, "no", {}, None)

    monkeypatch.setattr(timm, "create_model", answer)
    with nullcontext() if final else pytest.raises(WithstandError, match=f"cannot be fetched: HTTPError: .*{status}"):
        fetch_timm_weights("legacy_seresnet18.in1k", {}, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").exists() == final


def test_a_download_that_is_cut_leaves_nothing(hub, tmp_path, original):
    content = weights_bytes(original)
    hub.give_weights(TESTED, content)
    answer = next(iter(hub.answers.values()))
    answer.content, answer.headers["Content-Length"] = content[:5000], str(len(content))
    with pytest.raises(WithstandError, match="pretrained weights cannot be fetched"):
        fetch_timm_weights(TESTED, {}, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("kwargs", [{"embed_dim": 96}, {"depth": 3}, {"no_such": 1}])
def test_pretrained_weights_that_do_not_fit_are_a_failure_of_the_model(hub, tmp_path, original, kwargs):
    hub.give_weights(TESTED, weights_bytes(original))
    fetch_timm_weights(TESTED, kwargs, tmp_path / "w.safetensors")
    assert "no pretrained weights to be had: " in failure(tmp_path / "w.safetensors")


def test_offline_the_hubs_cache_is_all_there_is(hub, tmp_path, original, monkeypatch):
    output = tmp_path / "w.safetensors"
    monkeypatch.setenv("WITHSTAND_OFFLINE", "yes")
    for name in (TESTED, "legacy_seresnet18.in1k"):  # the second lies at an address of timm's
        with pytest.raises(WithstandError) as error:
            fetch_timm_weights(name, {}, output)
        assert str(error.value).splitlines() == [
            f"{name}: nothing is fetched offline, and no cache here has its weights",
            f"run `snakemake weights --cores 1` where there is a network, or put them at {output}",
        ]
    assert hub.asked == []

    hub.give_weights(TESTED, weights_bytes(original))
    monkeypatch.setenv("WITHSTAND_OFFLINE", "0")
    fetch_timm_weights(TESTED, {}, output)
    fetched = output.read_bytes()
    output.unlink()
    hub.asked.clear()
    monkeypatch.setenv("WITHSTAND_OFFLINE", "1")
    fetch_timm_weights(TESTED, {}, output)
    assert output.read_bytes() == fetched
    assert hub.asked == []


def test_the_command_goes_by_the_hubs_own_variables(server, tmp_path, original):
    server.give_weights(TESTED, weights_bytes(original))
    variables = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    command = [
        sys.executable,
        "-m",
        "withstand.cli",
        "fetch-weights",
        "--timm",
        TESTED,
        "-o",
        tmp_path / "w.safetensors",
    ]
    command += ["--output", tmp_path / "w.safetensors"]
    subprocess.run(command, env=os.environ | variables, check=True, capture_output=True, timeout=120)
    assert safetensors.torch.load_file(tmp_path / "w.safetensors").keys() == original.state_dict().keys()
    assert (tmp_path / "home/hub/models--timm--test_vit.r160_in1k").is_dir()


def torch_bytes(network, **options) -> bytes:
    file = io.BytesIO()
    torch.save(network.state_dict(), file, **options)
    return file.getvalue()


def test_torchvisions_weights_by_address(server, tmp_path):
    """In the old format of torch.save, as torchvision's files are; AlexNet's own have 244 MB."""
    network = randomise(torchvision.models.squeezenet1_1())
    content = torch_bytes(network, _use_new_zipfile_serialization=False)
    digest = hashlib.sha256(content).hexdigest()
    url = server.give(f"/models/squeezenet1_1-{digest[:8]}.pth", content)
    output = tmp_path / "squeezenet.safetensors"
    fetch_checkpoint(url, digest[:8], None, output)
    assert list(tmp_path.iterdir()) == [output]
    spec = {"function": "torchvision.models:squeezenet1_1", "preprocessing": TORCHVISION, "label_space": "imagenet-1k"}
    model = models.load(spec, output)
    images = torch.rand(2, 3, 224, 224)
    normalise = torchvision.transforms.Normalize(TORCHVISION["mean"], TORCHVISION["std"])
    assert torch.allclose(model(images), network(normalise(images)), rtol=1e-4, atol=1e-4)  # channels lie last here
    assert models.describe(spec, output)["preprocessing"]["crop_pct"] == 0.875


TORCHVISION = {
    "input_size": 224,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bilinear",
    "crop_pct": 0.875,
}


def test_torchvisions_alexnet_has_a_card():
    spec = {"function": "torchvision.models:alexnet", "preprocessing": TORCHVISION, "label_space": "imagenet-1k"}
    card = models.describe(spec, None)
    assert card["parameters"] == 61_100_840  # published, as are 0.71 GMACs
    assert card["flops"] / 2e9 == pytest.approx(0.71, abs=0.005)


@pytest.mark.parametrize("size", [(300, 400), (240, 231)])
def test_torchvisions_transform_is_had_by_its_preprocessing(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(224)]
    )
    ours = models.own_transform(models.Preprocessing(**TORCHVISION))
    assert np.array_equal(ours(Image.fromarray(image)), np.asarray(theirs(Image.fromarray(image))))


def test_googles_weights_by_address_are_converted_once(server, tmp_path):
    network = built(VIT)
    path = npz(tmp_path / "g.npz", vit_arrays(network))
    url = server.give("/vit_models/ViT-tiny_8.npz", path.read_bytes())
    fetch_checkpoint(url, hashlib.sha256(path.read_bytes()).hexdigest(), VIT, tmp_path / "v.safetensors")
    images = torch.rand(2, 3, 32, 32)
    fetched, at_hand = (models.load(VIT, tmp_path / name)(images) for name in ("v.safetensors", "g.npz"))
    assert torch.equal(fetched, at_hand)

    fetch_checkpoint(url, None, changed(VIT, depth=2), tmp_path / "w.safetensors")
    assert failure(tmp_path / "w.safetensors") == f"{url}: of another architecture: blocks 3 instead of 2"


def test_an_address_without_a_digest_is_told(server, tmp_path, capsys, original):
    content = weights_bytes(original)
    fetch_checkpoint(server.give("/m.safetensors", content), None, None, tmp_path / "w.safetensors")
    assert safetensors.torch.load_file(tmp_path / "w.safetensors").keys() == original.state_dict().keys()
    assert f"sha256 {hashlib.sha256(content).hexdigest()}, not checked, none is given" in capsys.readouterr().err


def test_another_digest_is_an_error(server, tmp_path, original):
    url = server.give("/m.safetensors", weights_bytes(original))
    with pytest.raises(WithstandError, match="sha256") as error:
        fetch_checkpoint(url, "01234567", None, tmp_path / "w.safetensors")
    assert not isinstance(error.value, ModelError)
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("content", [b"no weights", pickle.dumps(Payload())], ids=["text", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_without_weights_is_a_failure_of_the_model(server, tmp_path, content, capsys):
    url = server.give("/m.pth", content)
    fetch_checkpoint(url, None, None, tmp_path / "w.safetensors")
    assert failure(tmp_path / "w.safetensors").startswith(f"{url}: neither safetensors nor a plain state dict")
    assert "code ran" not in capsys.readouterr().out


def test_weights_that_share_memory_are_kept_apart(server, tmp_path):
    both = torch.rand(6)
    content = io.BytesIO()
    torch.save({"a": both[:3], "b": both[3:], "c": both}, content)
    fetch_checkpoint(server.give("/m.pt", content.getvalue()), None, None, tmp_path / "w.safetensors")
    kept = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert torch.equal(torch.cat([kept["a"], kept["b"]]), kept["c"])


def test_offline_a_checkpoint_is_put_beside_by_hand(server, tmp_path, monkeypatch, original):
    url = server.give("/m.pth", torch_bytes(original))
    monkeypatch.setenv("WITHSTAND_OFFLINE", "1")
    output, by_hand = tmp_path / "m-1234.safetensors", tmp_path / "m-1234.download.pth"
    with pytest.raises(WithstandError, match="or run `snakemake weights --cores 1` where there is a network") as error:
        fetch_checkpoint(url, None, None, output)
    assert str(by_hand) in str(error.value)
    assert len(str(error.value).splitlines()) == 2
    by_hand.write_bytes(torch_bytes(original))
    fetch_checkpoint(url, None, None, output)
    assert by_hand.exists()
    assert safetensors.torch.load_file(output).keys() == original.state_dict().keys()
    assert server.asked == []


def test_weights_of_other_outputs_are_not_taken_for_imagenets():
    card = models.describe({"timm": "vit_tiny_patch16_224.augreg_in21k"}, None)
    assert (card["outputs"], card["label_space"]) == (21843, "21843 classes")
    with pytest.raises(ModelError, match=r"vit_small_patch14_dinov2\.lvd142m gives features, no logits"):
        models.describe({"timm": "vit_small_patch14_dinov2.lvd142m"}, None)
