"""What each step of recipes/style_mobile brings: python benchmarks/style_ladder.py DATA --work FOLDER

Each outer fold is held out once. Some steps need no teacher; the others share the teachers of the fold, which never see
the hold-out. The last steps do not train a student: they change the network of the first arm. The table shows the mean
accuracy over the folds and, paired by group, the difference to the first arm. Finished trainings are kept in the work
folder, and an interrupted run continues.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from noseprint.data.central_square import CentralSquare
from noseprint.data.class_tables import ClassTable
from noseprint.data.prepared import read_prepared
from noseprint.deploy.benchmark import contestants
from noseprint.deploy.classifier_answers import photograph_probabilities
from noseprint.deploy.classifier_export import export_models
from noseprint.devices import choose_device
from noseprint.inference.classify import classify_photographs
from noseprint.metrics.bootstrap import bootstrap_difference, bootstrap_mean
from noseprint.models.weights import load_classifier, save_weights
from noseprint.models.weights_header import read_header
from noseprint.training.averaging import average_weights

FAMILY = Path(__file__).resolve().parents[1] / "recipes" / "style_mobile"
LABELS = ["--targets", "labels"]
ARMS = {  # folder and options
    "plain": ("student", [*LABELS]),
    "cutmix": ("student", [*LABELS, "--mixing", "cutmix"]),
    "gridmask": ("student", [*LABELS, "--mixing", "gridmask"]),
    "balanced": ("student", [*LABELS, "--balance", "oversample"]),
    "argmax": ("student", ["--targets", "argmax"]),
    "probabilities": ("student", ["--targets", "probabilities"]),
    "kd": ("student_kd", [*LABELS]),
}
FINISHED = {  # weights in the results of finish/
    "average": "mean.safetensors",  # the mean of snapshots without the hold-out, also where finish/ refuses it
    "finish": "best.safetensors",  # of all images but those of --split test
}
EXPORTS = {  # engine and precision
    "torch-fused": ("torch-fused", "float32"),
    "openvino-float32": ("openvino", "float32"),
    "openvino-bf16": ("openvino", "bf16"),
    "openvino-int8": ("openvino", "int8"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, help="folder whose images.csv has the columns image, label, split, fold and --group"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--group", default="sender", help="column of the groups")
    parser.add_argument("--classes", type=int, default=10, help="only the largest classes")
    parser.add_argument(
        "--split",
        choices=("val", "test"),
        default="val",
        help="what an outer fold is for the recipe. test: it makes its own hold-out from the rest, as for finish",
    )
    parser.add_argument("--folds", default="0,1,2,3,4", help="outer folds, separated by commas")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--arms", default=",".join((*ARMS, "average", *EXPORTS)), help="separated by commas")
    parser.add_argument("--student", default="", help="more options of the students, such as '--backbone NAME'")
    parser.add_argument("--teacher", default="", help="more options of the teachers")
    parser.add_argument("--finish", default="", help="more options of finish/")
    parser.add_argument("--kd", default="", help="more options of kd, as --student; FOLD becomes the outer fold")
    parser.add_argument("--size", type=int, default=192, help="side of the input in pixels")
    options = parser.parse_args()
    found = {}
    for fold in options.folds.split(","):
        folder = prepare(options, fold)
        for seed in options.seeds.split(","):
            for arm in options.arms.split(","):
                if arm in ARMS:
                    found[arm, fold, seed] = train(options, folder, fold=fold, arm=arm, seed=seed)
                else:
                    found[arm, fold, seed] = change(options, folder, arm=arm, seed=seed)
    report(found, options)


def prepare(options: argparse.Namespace, fold: str) -> Path:
    """A copy of the recipe for one outer fold, with its prepared images."""
    folder = options.work / f"fold{fold}" / "style_mobile"
    if (folder / "prepare" / "results" / "small" / "images.csv").is_file():
        return folder
    shutil.copytree(FAMILY, folder, ignore=shutil.ignore_patterns("results", "data"), dirs_exist_ok=True)
    with (options.data / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    kept = {label for label, _ in Counter(row["label"] for row in rows).most_common(options.classes)}
    data = options.work / f"fold{fold}" / "data"  # without the test images, which the table does not name
    data.mkdir(exist_ok=True)
    (data / "train").unlink(missing_ok=True)
    (data / "train").symlink_to((options.data / "train").resolve())
    with (data / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "split", "group"))
        for row in rows:
            if row["label"] in kept:
                split = options.split if row["fold"] == fold else "train"
                writer.writerow((row["image"], row["label"], split, row[options.group]))
    run(folder, "prepare/prepare.py", "--data", data.resolve(), "--group-column", "group")
    return folder


def train(
    options: argparse.Namespace, folder: Path, *, fold: str, arm: str, seed: str
) -> tuple[np.ndarray, np.ndarray]:
    """Train a student. Returns whether its answer to each held-out image is right, and the group of each."""
    script, own = ARMS[arm]
    if own[:2] != LABELS or (script == "student_kd" and "--teacher" not in options.kd):
        for part in range(1 if script == "student_kd" else 5):
            if not (folder / f"teacher/results/small/fold{part}/out_of_fold.safetensors").is_file():
                run(folder, "teacher/train.py", "--part", f"fold{part}", *options.teacher.split())
    name = f"{arm}-{seed}"
    for step in ("prepare", "teacher"):
        link = folder / step / "results" / name
        if (folder / step / "results" / "small").is_dir() and not link.is_symlink():
            link.symlink_to("small")
    results = folder / script / "results" / name
    answers = results / "answers.npz"
    if not answers.is_file():
        more = options.student + (" " + options.kd.replace("FOLD", fold) if arm == "kd" else "")
        run(folder, f"{script}/train.py", "--run", name, "--seed", seed, *own, *more.split())
        score(options, folder, results / "best.safetensors", answers)
    return load(answers)


def change(options: argparse.Namespace, folder: Path, *, arm: str, seed: str) -> tuple[np.ndarray, np.ndarray]:
    """As `train`, of the network of the first arm after finish/, or as an export computes it."""
    first = options.arms.split(",")[0]
    script, name = ARMS[first][0], f"{first}-{seed}"
    student = folder / script / "results" / name
    results = folder / "finish" / "results" / name if arm in FINISHED else student
    answers = results / f"{arm}.npz"
    if not answers.is_file() and arm in EXPORTS:
        answer_exports(options, folder, student)
    elif not answers.is_file():
        run(folder, "finish/train.py", "--run", name, "--seed", seed, "--students", script, *options.finish.split())
        network = load_classifier(student / "best.safetensors")
        average_weights(network, sorted((results / "proof" / "training" / "snapshots").glob("*.safetensors")))
        save_weights(results / FINISHED["average"], network, extra={"recipe": "benchmark"})
        score(options, folder, results / FINISHED[arm], answers)
    return load(answers)


def answer_exports(options: argparse.Namespace, folder: Path, student: Path) -> None:
    """Answer the held-out images with each export of a student."""
    weights, models = student / "best.safetensors", student / "models"
    prepared = read_prepared(folder / "prepare" / "results" / "small")
    export_models(weights, models, image_size=read_header(weights).image_size, train=prepared.split("train"))
    engines = {(one.engine, one.precision): one for path in (weights, models) for one in contestants(path)}
    taken = {arm: engines[name] for arm, name in EXPORTS.items()}
    images = prepared.split(options.split)
    found, _ = photograph_probabilities({arm: one.run for arm, one in taken.items()}, images.paths)
    for arm, one in taken.items():
        save(student / f"{arm}.npz", images, [one.classes[row] for row in found[arm].argmax(axis=1)])


def score(options: argparse.Namespace, folder: Path, weights: Path, answers: Path) -> None:
    """Answer the held-out images with weights, and save the answers."""
    images = read_prepared(folder / "prepare" / "results" / "small").split(options.split)
    outputs = classify_photographs(
        weights,
        images.paths,
        transform=CentralSquare,  # as the recipe's evaluation_transform
        device=choose_device("auto"),
        engine="torch",
        workers=0,
    )
    save(answers, images, [outputs.classes[row] for row in outputs.logits.argmax(axis=1)])


def save(path: Path, images: ClassTable, given: list[str]) -> None:
    right = np.array([a == b for a, b in zip(given, images.labels, strict=True)], float)
    np.savez(path, right=right, groups=np.array(images.groups or images.names))


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    saved = np.load(path)
    return saved["right"], saved["groups"]


def run(folder: Path, script: str, *options: object) -> None:
    words = [sys.executable, script, "--small", *map(str, options)]
    print("$", *words, flush=True)
    subprocess.run(words, cwd=folder, check=True)


def report(found: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]], options: argparse.Namespace) -> None:
    seeds = options.seeds.split(",")
    arms = options.arms.split(",")

    def of(arm: str) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Of all folds: right answers, as the mean over seeds, and their groups; the accuracy of each fold."""
        rights, groups, each = [], [], []
        for fold in options.folds.split(","):
            right = np.mean([found[arm, fold, seed][0] for seed in seeds], axis=0)
            rights.append(right)
            groups.append(found[arm, fold, seeds[0]][1])
            each.append(float(right.mean()))
        return np.concatenate(rights), np.concatenate(groups), each

    base, groups, _ = of(arms[0])
    number = len(set(groups.tolist()))
    print(f"{len(base)} held-out images of {number} groups; folds {options.folds}, seeds {options.seeds}")
    for arm in arms:
        right, _, each = of(arm)
        low, high = bootstrap_mean(right, groups, seed=0)
        gain = bootstrap_difference(right, base, groups, seed=0)
        row = {"arm": arm, "mean_of_folds": round(float(np.mean(each)), 4), "interval": [round(low, 4), round(high, 4)]}
        print(json.dumps({**row, "gain": str(gain), "folds": [round(one, 3) for one in each]}))


if __name__ == "__main__":
    main()
