"""Settings that the methods of one paper share; the preset of each method adds its own values to these."""

from typing import Any

Preset = dict[str, Any]

NUMBERS: Preset = {"reproduces": "numbers"}
"""Mark of a preset that sets a paper's numbers on an algorithm other than that of the released code."""

UUEF: Preset = {"lr": 0.01, "epochs": 10, "batch_size": 256, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "step"}
"""Kim et al. 2025, arXiv 2503.06991: SGD with the same settings for every method."""

ETH: Preset = {
    "lr": 0.001,
    "epochs": 5,
    "batch_size": 128,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "train_augmentation": False,
}
"""Kraehenmann et al. 2023, "Forget with Precision": the released code unlearns without augmentation."""

MUFAC: Preset = {"lr": 0.001, "epochs": 2, "batch_size": 64, "momentum": 0.0, "weight_decay": 0.0}
"""Choi and Na 2023, arXiv 2311.02240: MUFAC and MUCAC. Presets set `bn_mode` if a notebook leaves BatchNorm in eval."""

CONFORMAL: Preset = {
    "lr": 0.1,
    "epochs": 20,
    "batch_size": 64,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "cosine_epoch",
    "bn_mode": "train_then_frozen",
}
"""Shi et al. 2025, arXiv 2501.19403: its evaluation after epoch 1 leaves the model in eval mode."""
