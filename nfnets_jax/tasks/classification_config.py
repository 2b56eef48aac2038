"""The fields of a classification config, and the checks that need more than one of them."""

from typing import Any

from nfnets_jax.config import ConfigError, Fields, boolean, integer, number, text
from nfnets_jax.data import DatasetInfo
from nfnets_jax.tasks import checks, quantization

FIELDS: Fields = {
    **checks.BUDGET_FIELDS,
    "batch_size": integer(1024, 1, 2**20),
    "evaluation_batch_size": integer(1024, 1, 2**20),
    "accumulation_steps": integer(1, 1, 2**20),
    "precision": text("float32", tuple(checks.POLICIES)),
    "label_smoothing": number(0.1, 0, 1, open_above=True),
    "scalar_logit": boolean(False),  # of two classes: the network has one output z, logits [0, z]
    "ema_decay": number(0.0, 0, 1, open_above=True),
    "cross_replica_batch_norm": boolean(True),
    "network": checks.network_fields("nf_resnet50"),
    "dataset": {
        **checks.dataset_fields("digits"),
        "random_resized_crop": boolean(False),
        "crop_padding": integer(0, 0, 2**10),
        "flip": boolean(False),
        # What is subtracted: the means of the channels, or the mean training image.
        "normalization": text("channel", ("channel", "pixel")),
    },
    "augmentation": {
        "mixup_alpha": number(0.0, 0),
        "cutmix": boolean(False),
        "randaugment_layers": integer(0, 0, 100),
        "randaugment_magnitude": number(10.0, 0, 30),
        "translate_pixels": number(100.0, 0),
        "cutout_pixels": number(40.0, 0),
    },
    "optimizer": {
        "learning_rate": number(0.4, 0),
        **checks.OPTIMIZER_FIELDS,
        "weight_decay": number(5e-5, 0),
        "agc_clipping": number(0.0, 0),
        "agc_eps": number(1e-3, 0, open_below=True),
        "sam_rho": number(0.0, 0),
        "sam_fraction": number(1.0, 0, 1, open_below=True),
    },
    "schedule": checks.SCHEDULE_FIELDS,
    "pretrained": checks.PRETRAINED_FIELDS,
    "quantization": quantization.FIELDS,
}


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields of a classification config fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    info = checks.check_dataset(config["dataset"]["name"])
    checks.check_pretrained(config)
    if config["scalar_logit"] and info.num_classes != 2:
        raise ConfigError(
            f"scalar_logit=True: {info.name} has {info.num_classes} classes, not two; set it to "
            "False, or use a data set of two, such as digits_parity")
    config["network"] = checks.check_network(config["network"], info.num_classes)
    if config["optimizer"]["agc_clipping"] and "num_blocks" in config["network"]:
        raise ConfigError(
            f"optimizer.agc_clipping={config['optimizer']['agc_clipping']:g}: the layers of "
            f"{config['network']['name']} are stacked in one array, in which clipping would take "
            "the wrong units; set it to 0")
    checks.check_optimizer(config["optimizer"])
    quantization.check(config)
    checks.check_image_sizes(config, info.image_size)
    _check_normalization(config["dataset"], info)
    checks.check_batch(config, device_count)
    if config["augmentation"]["mixup_alpha"] or config["augmentation"]["cutmix"]:
        parts = 2 * device_count * config["accumulation_steps"]
        checks.check_divides(config, "batch_size", parts, f"{parts} halves of pairs that are mixed "
                             "on each device in each accumulation step")
    checks.check_budget(config, default_epochs=90.0)
    checks.check_schedule(config)
    return config


def _check_normalization(dataset: dict[str, Any], info: DatasetInfo) -> None:
    if dataset["normalization"] != "pixel":
        return
    if info.image_size is None:
        raise ConfigError(f"dataset.normalization='pixel': the images of {info.name} differ in "
                          "size and have no mean image; use channel")
    if dataset["evaluation_image_size"] != dataset["image_size"]:
        raise ConfigError(
            "dataset.normalization='pixel': there is one mean image, and dataset.image_size="
            f"{dataset['image_size']} differs from evaluation_image_size="
            f"{dataset['evaluation_image_size']}; make them the same or use channel")
