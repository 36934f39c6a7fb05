"""The phases of each method at a higher resolution, after those of ../phases. See the notes there."""

from noseprint.losses.margin_options import Margin
from noseprint.tasks.phase_options import TrainingPhase

TARGET = None
"""The domains that matter most; see ../phases/phases.py."""

# 1st place: the same phases at 280 pixels, then at 290 with patches of 14 pixels every 10.
FIRST = {"lr": 0.002, "optimizer": "sgd", "weight_decay": 1e-4, "schedule": "multi-step", "warmup": 0.0}
LAYER = {**FIRST, "epochs": 6, "batch_size": 256, "milestones": (1 / 3, 2 / 3)}
BACKBONE = {**FIRST, "epochs": 3, "batch_size": 32, "milestones": (1 / 3,), "backbone_lr_scale": 1 / 80}
ALL_DATA = {"margin": Margin("cosface", start=0.55)}
TARGET_DATA = {"domains": TARGET, "margin": Margin("cosface", start=0.65)}
PUBLISHED = (
    TrainingPhase(name="280-all", size=280, **BACKBONE, **ALL_DATA),
    TrainingPhase(name="280-target-classifier", trains=("classifier",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="280-target-head", trains=("head",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="280-target-backbone", trains=("backbone",), **BACKBONE, **TARGET_DATA),
    TrainingPhase(name="290-all", size=290, stride=10, **BACKBONE, **ALL_DATA),
    TrainingPhase(name="290-target-classifier", trains=("classifier",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="290-target-head", trains=("head",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="290-target-backbone", trains=("backbone",), **BACKBONE, **TARGET_DATA),
)

# The other teams did not train at a higher resolution. This is a short fine-tuning at 5/4 of 224 pixels.
LARGER = (TrainingPhase(name="280", epochs=1, lr=1e-4, backbone_lr_scale=0.1, size=280),)

METHODS = {
    "published": PUBLISHED,
    "second": LARGER,
    "layerwise": LARGER,
    "lp-ft": LARGER,
    "joint": LARGER,
    "small": LARGER,
    "demo": LARGER,
}
