"""The phases of each method. Read them, change them, add a method: train.py runs METHODS[--method] one by one.

A phase that is changed after it was trained is refused: pass --restart, or --run NAME for another training beside it.
"""

from noseprint.losses.margin_options import Margin
from noseprint.tasks.phase_options import TrainingPhase

TARGET = None
"""The domains that matter most, such as ("products",), which the 1st place trained on last. None: all of them."""

# 1st place: classifier, head and trunk in turn. Their SGD had no momentum and lr 0.02; ours has 0.9, which multiplies
# each gradient by 10 in the end.
FIRST = {"lr": 0.002, "optimizer": "sgd", "weight_decay": 1e-4, "schedule": "multi-step", "warmup": 0.0}
LAYER = {**FIRST, "epochs": 6, "batch_size": 256, "milestones": (1 / 3, 2 / 3)}
TRUNK = {**FIRST, "epochs": 3, "batch_size": 32, "milestones": (1 / 3,), "trunk_lr_scale": 1 / 80}
ALL_DATA = {"size": 224, "margin": Margin("cosface", start=0.55)}
TARGET_DATA = {"size": 224, "domains": TARGET, "margin": Margin("cosface", start=0.65)}
PUBLISHED = (
    TrainingPhase(name="head", trains=("head", "classifier"), **LAYER, **ALL_DATA),
    TrainingPhase(name="trunk", trains=("trunk",), **TRUNK, **ALL_DATA),
    TrainingPhase(name="target-classifier", trains=("classifier",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="target-head", trains=("head",), **LAYER, **TARGET_DATA),
    TrainingPhase(name="target-trunk", trains=("trunk",), **TRUNK, **TARGET_DATA),
)

# 2nd place: everything for two epochs, the trunk at 1/1000; then the trunk rests. The margin grows with the epochs.
ADAMW = {"lr": 1e-4, "weight_decay": 1e-5, "batch_size": 192}
SECOND = (
    TrainingPhase(
        name="all", epochs=2, warmup=0.5, trunk_lr_scale=1e-3, margin=Margin(start=0.3, growth=0.1, most=0.8), **ADAMW
    ),
    TrainingPhase(name="head", epochs=1, trains=("head", "classifier"), margin=Margin(start=0.5), **ADAMW),
)

# 4th place: one epoch of everything; lower layers learn more slowly, an eighth at the bottom; small classes have larger
# margins, and each class three centres.
LAYERWISE = (
    TrainingPhase(
        name="all",
        epochs=1,
        lr=3e-4,
        trunk_lr_scale=1 / 30,
        layer_decay=0.937,
        margin=Margin(start=0.5, by_size=True, centres=3),
        weight_decay=1e-3,
    ),
)

# Linear probing, then fine-tuning (arXiv 2202.10054): begins with the network of head/.
LP_FT = (TrainingPhase(name="all", epochs=6, lr=3e-4, trunk_lr_scale=0.1),)

# Everything at once, from a random head.
JOINT = (TrainingPhase(name="all", epochs=8, lr=1e-3, trunk_lr_scale=0.1),)

# For --small: begins with the network of head/.
SMALL = (TrainingPhase(name="all", epochs=4, train_size=160, lr=3e-4, trunk_lr_scale=0.1),)

METHODS = {
    "published": PUBLISHED,
    "second": SECOND,
    "layerwise": LAYERWISE,
    "lp-ft": LP_FT,
    "joint": JOINT,
    "small": SMALL,
}
FROM_HEAD = ("lp-ft", "small")
"""The methods that begin with the network of head/; the others begin with a random head."""
