"""The phases of each method. Read and change them, or add a method: train.py runs those of METHODS[--method] in turn.

A phase that is changed after it was trained is refused: pass --restart, or --run NAME for another training beside it.
"""

from noseprint.losses.margin_options import Margin
from noseprint.tasks.phase_options import TrainingPhase

TARGET = None
"""The domains that matter most, such as ("products",), which the 1st place trained on last. None: all of them."""

# 1st place: classifier, head and backbone in turn. Their SGD had no momentum and lr 0.02. Ours has momentum 0.9, which
# in the end multiplies each gradient by 10, so lr is a tenth.
FIRST = {"lr": 0.002, "optimizer": "sgd", "weight_decay": 1e-4, "schedule": "multi-step", "warmup": 0.0}
LAYER = {**FIRST, "epochs": 6, "batch_size": 256, "milestones": (1 / 3, 2 / 3)}
BACKBONE = {**FIRST, "epochs": 3, "batch_size": 32, "milestones": (1 / 3,), "backbone_lr_scale": 1 / 80}
ALL_DATA = {"size": 224, "margin": Margin("cosface", start=0.55)}
TARGET_DATA = {"size": 224, "domains": TARGET, "margin": Margin("cosface", start=0.65)}
PUBLISHED = (
    TrainingPhase(name="head", trains=("head", "classifier"), **LAYER, **ALL_DATA),
    TrainingPhase(name="backbone", trains=("backbone",), **BACKBONE, **ALL_DATA),
    TrainingPhase(name="target-classifier", trains=("classifier",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="target-head", trains=("head",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="target-backbone", trains=("backbone",), **BACKBONE, **TARGET_DATA),
)

# 2nd place: all parts for two epochs, the backbone at 1/1000 of lr; then head and classifier alone. The margin grows
# with the epochs.
ADAMW = {"lr": 1e-4, "weight_decay": 1e-5, "batch_size": 192}
SECOND = (
    TrainingPhase(
        name="all",
        epochs=2,
        warmup=0.5,
        backbone_lr_scale=1e-3,
        margin=Margin(start=0.3, growth=0.1, most=0.8),
        **ADAMW,
    ),
    TrainingPhase(name="head", epochs=1, trains=("head", "classifier"), margin=Margin(start=0.5), **ADAMW),
)

# 4th place: all parts for one epoch. Lower layers learn more slowly, the lowest at an eighth. Small classes have larger
# margins, and each class has three centres.
LAYERWISE = (
    TrainingPhase(
        name="all",
        epochs=1,
        lr=3e-4,
        backbone_lr_scale=1 / 30,
        layer_decay=0.937,
        margin=Margin(start=0.5, by_size=True, centres=3),
        weight_decay=1e-3,
    ),
)

# Linear probing, then fine-tuning (arXiv 2202.10054): it begins with the network of head/.
LP_FT = (TrainingPhase(name="all", epochs=6, lr=3e-4, backbone_lr_scale=0.1),)

# All parts at once, from a random head.
JOINT = (TrainingPhase(name="all", epochs=8, lr=1e-3, backbone_lr_scale=0.1),)

# For --small: it begins with the network of head/.
SMALL = (TrainingPhase(name="all", epochs=4, train_size=160, lr=1e-3, backbone_lr_scale=0.1),)
DEMO = (TrainingPhase(name="all", epochs=2, train_size=112, lr=3e-4, backbone_lr_scale=0.1),)

METHODS = {
    "published": PUBLISHED,
    "second": SECOND,
    "layerwise": LAYERWISE,
    "lp-ft": LP_FT,
    "joint": JOINT,
    "small": SMALL,
    "demo": DEMO,
}
FROM_HEAD = ("lp-ft", "small", "demo")
"""The methods that begin with the network of head/; the others begin with a random head."""
