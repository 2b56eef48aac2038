"""Classifies images with published or saved weights.

    python -m nfnets_jax.classify IMAGE... --weights=FILE --network=nfnet_f0
    python -m nfnets_jax.classify IMAGE... --weights=FILE --network=nfnet_f0 --output=figure.png

    --weights=FILE       the authors' pickles, timm's safetensors, PyTorch's state dicts, or what
                         nfnets_jax.weights.save wrote; nothing in the file is run
    --network=NAME       which network the weights are for
    --top=5              how many classes are printed for each image
    --image_size=PIXELS  side of the square that the network sees; default: as published
    --output=FILE        draws the images beside their classes; .png, .pdf or .svg
"""

from absl import flags

from nfnets_jax import command_line
from nfnets_jax.reports import figures

_WEIGHTS = flags.DEFINE_string("weights", None, "File of weights.")
_NETWORK = flags.DEFINE_string("network", None, "Name of the network.")
_TOP = flags.DEFINE_integer("top", 5, "How many classes are printed.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "In pixels; default: as published.",
                                   lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", None, "File to draw into.")


def main(argv: list[str]) -> None:
    """Runs the program; the arguments are above."""
    files = argv[1:]
    if not files:
        command_line.fail("name one image or more; see --help")
    command_line.require(weights=_WEIGHTS.value, network=_NETWORK.value)
    if _OUTPUT.value:
        try:
            figures.check_format(_OUTPUT.value)
        except ValueError as error:
            command_line.fail(f"--output={error}")

    from nfnets_jax import nets, weights
    from nfnets_jax.reports import predictions
    from nfnets_jax.training import compilation

    try:
        how = weights.preprocessing(_NETWORK.value, _IMAGE_SIZE.value)
        stride = nets.total_stride(_NETWORK.value)
    except ValueError as error:
        command_line.fail(f"--network: {error}")
    if how.image_size < stride:
        command_line.fail(f"--image_size={how.image_size}: smaller than the total stride {stride} "
                          f"of {_NETWORK.value}; use at least {stride}")
    try:
        params, state = weights.load(_WEIGHTS.value, network=_NETWORK.value)
    except ValueError as error:
        command_line.fail(f"--weights={error}")
    num_classes, channels = _sizes(params)
    if channels != len(how.mean):
        command_line.fail(f"--weights={_WEIGHTS.value}: is for images of {channels} channels, "
                          f"where {_NETWORK.value} was published for {len(how.mean)}")
    images = [_read_image(file, channels) for file in files]

    import jax
    import numpy as np

    compilation.enable_compilation_cache()
    network = nets.create(_NETWORK.value, num_classes)

    @jax.jit
    def probabilities(params, state, batch):
        outputs, _ = network.apply(params, state, None, batch, is_training=False)
        return jax.nn.softmax(outputs["logits"])

    params = jax.device_put(params)
    names = _class_names(num_classes)
    shown = []
    for file, image in zip(files, images, strict=True):
        values = np.asarray(probabilities(params, state, weights.prepare(image, how)[None]))[0]
        best = np.argsort(-values, kind="stable")[:_TOP.value]
        shown.append([(names[i], float(values[i])) for i in best])
        print(file)
        for name, value in shown[-1]:
            print(f"  {value:7.2%}  {name}")
    if _OUTPUT.value:
        predictions.plot(images, files, [[(name.partition(" (")[0], value) for name, value in row]
                                         for row in shown], _OUTPUT.value)
        print(f"drew {_OUTPUT.value}")


def _sizes(params) -> tuple[int, int]:
    """Returns the number of classes, and of the images' channels."""
    for module, values in params.items():
        if module.endswith("/classifier"):
            num_classes = values["b"].shape[0]
        elif module.endswith(("/initial_conv", "/stem_conv0")):
            channels = values["w"].shape[2]
    return num_classes, channels


def _class_names(num_classes: int) -> list[str]:
    from nfnets_jax.data.imagenet_classes import imagenet_classes

    if num_classes == 1000:
        return [f"{name} ({wnid})" for wnid, name in imagenet_classes()]
    return [f"class {i}" for i in range(num_classes)]


def _read_image(file: str, channels: int):
    from nfnets_jax.data import images

    try:
        with open(file, "rb") as stream:
            return images.decode(stream.read(), channels)
    except ValueError as error:  # also what the JPEG decoder raises
        reason = " ".join(str(error).split())
        command_line.fail(f"{file}: cannot be read as an image: {reason}")


if __name__ == "__main__":
    command_line.run(main)
