"""The identity of a run: a hash of all that decides its result, which survives new fields in the configs.

The hash is over a canonical form of the config. The fields of version 2 are always part of it, as they were when the
first records were made. A field that was added later is part of it only where its value differs from its default. So
a new defaulted field changes no id, and records on disk stay done.

Rules for a change of a config dataclass:

- Add a field with the default that keeps today's behavior. Do not add it to FIELDS_OF_VERSION_2.
- A default that changes its meaning raises `CONFIG_VERSION` in `pipeline/config.py`: every id changes.
- A field of version 2 cannot be removed or renamed without a migration of the records.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

FIELDS_OF_VERSION_2 = {
    "": "seed",
    "model": "scale width",
    "model.encoder": "width layers heads mlp_width patch_size image_size vocabulary_size text_tokens text_positions "
    "layer_norm_eps drop_path",
    "model.fpn": "kind stages multiway_projection",
    "model.fpn.fusion": "heads mlp_width bi_width bi_heads bi_layer_scale",
    "model.fpn.cris": "level_widths",
    "model.fpn.pwam": "heads gate keep_self_attention",
    "model.decoder": "kind layers",
    "model.decoder.fusion": "heads mlp_width bi_width bi_heads bi_layer_scale",
    "model.decoder.cgformer": "pyramid_widths group_tokens token_width dropout upsample_blocks "
    "evaluation_noise group_loss",
    "model.decoder.dmmi": "pyramid_widths width heads mlp_width dropout masked_words reconstruction_loss "
    "contrastive_loss temperature",
    "model.head": "upsample_blocks class_token_hidden output_convolution",
    "model.system": "kind encoder stages pwam_heads interaction",
    "model.system.vitdet": "width convolutions",
    "model.system.swin": "width depths heads window patch_size drop_path",
    "model.system.bert": "width layers heads mlp_width vocabulary_size positions dropout layer_norm_eps",
    "data": "train_sets evaluate_splits horizontal_flip",
    "optim": "learning_rate betas weight_decay decay_norms_and_biases schedule warmup_steps clip_norm",
    "train": "epochs global_batch_size precision synchronize_batch_norm max_samples_per_epoch nonfinite_loss "
    "damaged_samples encoder_weights_sha256",
    "train.loss": "bce dice resolution",
    "evaluation": "threshold batch_size",
}
"""Dotted path of each part of a RunConfig -> its fields at version 2. Frozen: never add to it."""


def canonical(config: Any, path: str = "") -> dict[str, Any]:
    """Return the fields of a config that are part of its hash, as plain containers.

    Args:
        config: a RunConfig, or the part of one that lies at `path`.
        path: dotted path of the part; empty for the whole config.
    """
    known = FIELDS_OF_VERSION_2.get(path, "").split()
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            below = canonical(value, f"{path}.{entry.name}".lstrip("."))
            if below:  # a new part with defaults only leaves no trace
                values[entry.name] = below
        elif entry.name in known or value != _default(entry):
            values[entry.name] = value
    return values


def _default(entry: dataclasses.Field[Any]) -> Any:
    if entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory()
    return entry.default  # MISSING for a field without a default, which equals no value


def digest(values: dict[str, Any], *, version: int) -> str:
    """Return 16 hex digits over values that JSON holds, and the version of their meaning."""
    text = json.dumps({"version": version, **values}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
