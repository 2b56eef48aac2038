"""The program that classifies images: what it prints, and how it answers mistakes."""

import numpy as np
import pytest
from PIL import Image

from nfnets_jax import nets, weights
from nfnets_jax.data.imagenet_classes import imagenet_classes
from tests.training import programs
from tests.weights import files

NETWORK = "nf_wrn_16_2"


def classify(*arguments):
    return programs.finish(programs.Program("classify", arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two images, and weights of two small networks, for 1000 and for 4 classes."""
    folder = tmp_path_factory.mktemp("classify")
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), np.uint8)).save(folder / name)
    for num_classes in (1000, 4):
        params = files.random_params(NETWORK, num_classes)
        params["nf_resnet/classifier"]["w"] *= 0.05
        weights.save(folder / f"{num_classes}.safetensors", params, network=NETWORK)
    (folder / "text.png").write_text("no image")
    (folder / "half.jpg").write_bytes((folder / "b.jpg").read_bytes()[:100])
    return folder


def expected(folder, file, num_classes):
    """The probabilities, computed beside the program."""
    params, state = weights.load(folder / f"{num_classes}.safetensors", network=NETWORK)
    image = np.asarray(Image.open(folder / file).convert("RGB"))
    image = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC))
    mean = np.float32([0.4914, 0.4822, 0.4465]) * 255
    std = np.float32([0.2470, 0.2435, 0.2616]) * 255
    batch = ((image - mean) / std)[None].astype(np.float32)
    logits = np.asarray(nets.create(NETWORK, num_classes).apply(
        params, state, None, batch, False)[0]["logits"][0], np.float64)
    values = np.exp(logits - logits.max())
    return values / values.sum()


def test_prints_the_likeliest_classes_and_draws_them(folder, tmp_path):
    status, output = classify(
        folder / "a.png", folder / "b.jpg", f"--weights={folder}/1000.safetensors",
        f"--network={NETWORK}", "--top=3", f"--output={tmp_path}/figure.png")
    assert status == 0, output
    lines = output.splitlines()
    assert len(lines) == 9 and lines[0] == f"{folder}/a.png" and lines[4] == f"{folder}/b.jpg"
    values = expected(folder, "a.png", 1000)
    for line, label in zip(lines[1:4], np.argsort(-values)[:3], strict=True):
        wnid, name = imagenet_classes()[label]
        assert line.endswith(f"  {name} ({wnid})")
        assert abs(float(line.split("%")[0]) / 100 - values[label]) < 2e-4
    picture = np.asarray(Image.open(tmp_path / "figure.png"))
    assert picture.shape[0] > 500 and picture.std() > 10


def test_prints_indices_where_the_classes_are_not_imagenets(folder):
    status, output = classify(
        folder / "a.png", f"--weights={folder}/4.safetensors", f"--network={NETWORK}")
    assert status == 0, output
    values = expected(folder, "a.png", 4)
    order = [int(line.split()[-1]) for line in output.splitlines()[1:]]
    assert order == list(np.argsort(-values))


WRONG = {
    "no image": ([], "name one image"),
    "no weights": (["a.png", "--network=nfnet_f0"], "--weights is missing"),
    "no network": (["a.png", "--weights=4.safetensors"], "--network is missing"),
    "unknown network": (["a.png", "--weights=4.safetensors", "--network=nfnet_f9"],
                        "nearest: nfnet_f"),
    "other network": (["a.png", "--weights=4.safetensors", "--network=nf_wrn_16_4"],
                      "Use network='nf_wrn_16_2'"),
    "not normalizer-free": (["a.png", "--weights=4.safetensors", "--network=bn_resnet50"],
                            "not normalizer-free"),
    "no such weights": (["a.png", "--weights=none", f"--network={NETWORK}"], "No such file"),
    "no such image": (["none.png", "--weights=4.safetensors", f"--network={NETWORK}"],
                      "No such file"),
    "no image in the file": (["text.png", "--weights=4.safetensors", f"--network={NETWORK}"],
                             "text.png: cannot be read as an image"),
    "a text as weights": (["a.png", "--weights=text.png", f"--network={NETWORK}"],
                          "cannot be read as weights"),
    "a figure of no format": (["a.png", "--weights=4.safetensors", f"--network={NETWORK}",
                               "--output=x.gif"], "must end in"),
    "no classes": (["a.png", "--weights=4.safetensors", f"--network={NETWORK}", "--top=0"],
                   "--top=0"),
    "too small": (["a.png", "--weights=4.safetensors", f"--network={NETWORK}", "--image_size=2"],
                  "smaller than the total stride 4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_answered_in_one_line(folder, name):
    arguments, words = WRONG[name]
    arguments = [a.replace("--weights=", f"--weights={folder}/") if a.startswith("--")
                 else folder / a for a in arguments]
    status, output = classify(*arguments)
    assert status == 2 and output.startswith("error: ") and output.count("\n") == 1, output
    assert words in output


def test_the_class_names_are_in_the_usual_order():
    classes = imagenet_classes()
    assert len(classes) == 1000 and [c.wnid for c in classes] == sorted(c.wnid for c in classes)
    assert classes[0] == ("n01440764", "tench, Tinca tinca")
    assert classes[281].name == "tabby, tabby cat" and classes[999].wnid == "n15075141"
