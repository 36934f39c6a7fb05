"""How well are wrong labels found, and what does a classifier gain when they are left out?

Plants wrong labels in the training images of a folder of classes whose labels are right: none, 20 % and 40 % of them,
to any other class, to another class of the same coarser class, and to any other class beside pictures of another
folder, a tenth as many as images, which get random labels. All classifiers are linear, on the features of
recipes/web_finegrained/features --small. Scores are those of the test images.

    python benchmarks/noise.py OUT.jsonl --data DIR [--other FOLDER] [--seeds 0 1 2] [--table]
    python benchmarks/noise.py OUT.jsonl --data DIR --told COLUMN [--group-column COLUMN]

The methods, all with the same folds:

    as given   nothing is left out
    ours       the rule noise-channel; its suspects are left out if that makes unseen labels easier to predict
    always     the same without that condition
    write-up   outside the top 5, then outside the top 1, trained again without the suspects until none returns
    cleanlab   find_label_issues as it comes, on the probabilities of the first round (`pip install cleanlab`; its
               columns are left out without it)
    oracle     exactly the wrong labels are left out

--told: instead of planting, judge the labels of DIR by a column of its table that holds corrected labels of some
images. Each finished case becomes a line of OUT and is not run again; the features are kept in OUT.files/. Top-1 is the
mean over the seeds ± their standard deviation. Differences are paired by test image (or group) and seed, with 95 %
intervals.
"""

import argparse
import csv
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from noseprint.cleaning.find import at_most
from noseprint.cleaning.options import CleaningOptions
from noseprint.cleaning.rounds import (
    MOST_COLUMNS,
    SCALE,
    Settings,
    choose_settings,
    clean,
    gain_of_removal,
    linear_probabilities,
    out_of_fold,
)
from noseprint.command_line import friendly_errors
from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import TABLES, read_classes
from noseprint.data.holdout import assign_folds, ordered_by_hash
from noseprint.data.listing import list_photographs
from noseprint.errors import NoseprintError
from noseprint.inference.classify import classify_photographs, read_outputs, write_outputs
from noseprint.metrics.bootstrap import bootstrap_difference, percentile_interval, resampled_weights

try:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
except ImportError:
    find_label_issues = None

FEATURES = Path(__file__).resolve().parents[1] / "recipes" / "web_finegrained" / "features"
PENALTIES = {"softmax": 3e-4, "softmax, regularised": 1e-2}
"""Of the squared weights of softmax regression, against the mean loss."""
CLASSIFIERS = (*PENALTIES, "discriminant")
"""That are scored. The last one is the linear discriminant analysis of the cleaning."""
RATES = (0.0, 0.2, 0.4)
OTHER_SHARE = 0.1
METHODS = ("as given", "ours", "always", "write-up", "cleanlab", "oracle")
FINDERS = ("ours", "write-up", "cleanlab")
COMPARED = (("ours", "as given"), ("ours", "cleanlab"), ("ours", "write-up"))
LEAST_GAIN = 0.01  # of the oracle, below which a share of it says nothing

Line = dict  # of OUT


class Case(NamedTuple):
    """Which labels are made wrong. kind: "symmetric", "within LEVEL", "other pictures" or "told"."""

    kind: str
    rate: float
    seed: int


class Problem(NamedTuple):
    """Training images with wrong labels, and test images.

    features: (N, D) of both. labels: (N,) class numbers. wrong, judged: (N,) whether a label is wrong, and whether that
    is known. groups: of the training images, None if each is its own. test_groups: (M,) what intervals are over.
    """

    features: np.ndarray
    labels: np.ndarray
    wrong: np.ndarray
    judged: np.ndarray
    groups: list[str] | None
    test_features: np.ndarray
    test_labels: np.ndarray
    test_groups: list[str]
    classes: int


class Folder:
    """A data folder: its training images, its test images with labels, the features of both, and other pictures."""

    def __init__(self, data: Path, columns: ClassColumns, *, other: Path | None, scratch: Path) -> None:
        self.data, self.name, self.columns = data, data.resolve().name, columns
        table = read_classes(data, columns=columns)
        labelled = zip(table.splits, table.labels, strict=True)
        table = table.where(split in ("train", "test") and label != "" for split, label in labelled)
        self.train, self.test = table.split("train"), table.split("test")
        if not len(self.test):
            raise NoseprintError(f"{data} has no test images with labels: there is nothing to score")
        found = features_of(table.paths, table.names, scratch / f"{self.name}.safetensors")
        is_train = np.array(table.splits) == "train"
        self.x, self.test_x = found[is_train], found[~is_train]
        number = {name: row for row, name in enumerate(table.classes)}
        self.number = number
        self.y, self.test_y = (np.array([number[name] for name in of.labels]) for of in (self.train, self.test))
        self.other_x = self.x[:0]
        if other is not None:
            root, names = list_photographs(other)
            names = tuple(ordered_by_hash(names, seed=0)[: 2 * round(OTHER_SHARE * len(self.y))])
            if len(names) < OTHER_SHARE * len(self.y):
                raise NoseprintError(f"{other} has {len(names)} photographs: name a folder with more")
            self.other_x = features_of(
                [root / name for name in names], names, scratch / f"{self.name}-other.safetensors"
            )

    def siblings(self, level: str) -> list[np.ndarray]:
        """For each class, the others of its coarser class; all other classes where it is the only one."""
        coarser = dict(zip(self.y.tolist(), self.train.levels[level], strict=True))
        every = np.arange(len(self.number))
        own = [np.array([k for k in every if k != each and coarser[k] == coarser[each]], int) for each in every]
        return [found if len(found) else np.delete(every, each) for each, found in zip(every, own, strict=True)]

    def cases(self, seeds: list[int], *, told: bool) -> list[Case]:
        """What to measure. Without noise, the kinds "symmetric" and "within LEVEL" are the same."""
        if told:
            return [Case("told", 0.0, seed) for seed in seeds]
        kinds = ["symmetric", *(f"within {level}" for level in list(self.train.levels)[:1])]
        kinds += ["other pictures"] * bool(len(self.other_x))
        found = itertools.product(seeds, kinds, RATES)
        return [Case(kind, rate, seed) for seed, kind, rate in found if rate or not kind.startswith("within")]

    def plant(self, case: Case) -> Problem:
        """Make labels wrong at random, by the seed of the case."""
        rng = np.random.default_rng(case.seed)
        x, y, every = self.x, self.y.copy(), np.arange(len(self.number))
        within = case.kind.partition("within ")[2]
        candidates = self.siblings(within) if within else [np.delete(every, each) for each in every]
        for row in rng.permutation(len(y))[: round(case.rate * len(y))]:
            y[row] = rng.choice(candidates[y[row]])
        wrong = y != self.y
        if case.kind == "other pictures":
            added = rng.permutation(len(self.other_x))[: round(OTHER_SHARE * len(self.y))]
            x = np.concatenate([x, self.other_x[added]])
            y = np.concatenate([y, rng.choice(self.y, len(added))])
            wrong = np.concatenate([wrong, np.ones(len(added), bool)])
        return self._problem(x, y, wrong, np.ones(len(y), bool), None)

    def as_told(self, column: str) -> Problem:
        """The labels as they are, judged by a column of the table that corrects some of them."""
        path = self.columns.table or next(self.data / name for name in TABLES if (self.data / name).is_file())
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        if column not in rows[0]:
            raise NoseprintError(f"{path} has no column {column}: it has {', '.join(rows[0])}")
        image = self.columns.image or "image"
        told = {row[image]: row[column] for row in rows}
        corrected = [told[name] for name in self.train.names]
        pairs = list(zip(corrected, self.train.labels, strict=True))
        wrong = np.array([bool(told) and told != label for told, label in pairs])
        right = [told[name] or label for name, label in zip(self.test.names, self.test.labels, strict=True)]
        self.test_y = np.array([self.number[label] for label in right])
        groups = None if self.train.groups is None else list(self.train.groups)
        return self._problem(self.x, self.y, wrong, np.array([bool(told) for told in corrected]), groups)

    def _problem(
        self, x: np.ndarray, y: np.ndarray, wrong: np.ndarray, judged: np.ndarray, groups: list | None
    ) -> Problem:
        x, test_x = (of / np.linalg.norm(of, axis=1, keepdims=True) for of in (x, self.test_x))
        reduced = PCA(min(MOST_COLUMNS, *x.shape), svd_solver="covariance_eigh").fit(x)
        x, test_x = (SCALE * reduced.transform(of) for of in (x, test_x))
        test_groups = list(self.test.groups or self.test.names)
        return Problem(x, y, wrong, judged, groups, test_x, self.test_y, test_groups, len(self.number))


def features_of(paths: Sequence[Path], names: tuple[str, ...], cache: Path) -> np.ndarray:
    """The features of photographs by the recipe's small network, computed once."""
    if not cache.is_file():
        sys.path.insert(0, str(FEATURES))
        from dataset import evaluation_transform  # noqa: PLC0415 - of the recipe
        from model import build_model  # noqa: PLC0415

        torch.manual_seed(0)  # of the head, which is not used
        network = build_model(("a", "b"), small=True)
        settings = {"transform": evaluation_transform, "device": torch.device("cpu")}
        write_outputs(cache, classify_photographs(network, paths, names=names, **settings))
    outputs = read_outputs(cache)
    if outputs.names != names:
        raise NoseprintError(f"{cache} has the features of other images: delete it, or give another OUT")
    return np.asarray(outputs.features, np.float64)


def measure(problem: Problem, seed: int) -> Line:
    """Find the wrong labels by every method, leave out what it says, and score classifiers on the test."""
    x, y, wrong, judged, groups = problem[:5]
    folds = assign_folds([str(label) for label in y], folds=CleaningOptions.folds, groups=groups, seed=seed)
    none = np.zeros(len(y), bool)
    settings = choose_settings(x, y, folds, classes=problem.classes)
    same = {"classes": problem.classes, "settings": settings}
    probabilities = out_of_fold(x, y, ~none, folds, **same)
    rule = partial(clean, rule="noise-channel", rounds=CleaningOptions.rounds, **same)
    ours = rule(x, y, folds)
    write_up = clean(x, y, folds, rule="top-k", rounds=CleaningOptions.rounds, **same)
    gain = gain_of_removal(x, y, folds, rule, groups=groups, certain=none)
    suspicion = {"ours": ours.suspicion, "write-up": write_up.suspicion}
    flagged = {"ours": ours.suspect, "write-up": write_up.suspect}
    if find_label_issues:
        suspicion["cleanlab"] = 1 - get_label_quality_scores(y, probabilities)
        flagged["cleanlab"] = find_label_issues(y, probabilities, n_jobs=1)
    always = at_most(flagged["ours"], ours.suspicion, y.tolist(), most=CleaningOptions.most_of_class, gone=none)
    left_out = {
        "as given": none,
        "ours": always if gain.low > 0 else none,
        "always": always,
        **{name: flagged[name] for name in FINDERS[1:] if name in flagged},
        "oracle": wrong,
    }
    right: dict = {name: {} for name in CLASSIFIERS}
    for classifier, (method, out) in itertools.product(CLASSIFIERS, left_out.items()):
        answers = answers_of(classifier, problem, ~out, settings)
        right[classifier][method] = (answers == problem.test_labels).astype(int).tolist()
    found = {name: judge(suspicion[name], flagged[name], wrong, judged) for name in suspicion}
    line = {"images": len(y), "wrong": int(wrong.sum()), **vars(settings), "estimate": ours.rate}
    line |= {"gain": [gain.value, gain.low, gain.high], "test_groups": problem.test_groups}
    return line | {"left_out": {name: int(out.sum()) for name, out in left_out.items()}, "found": found, "right": right}


def answers_of(classifier: str, problem: Problem, kept: np.ndarray, settings: Settings) -> np.ndarray:
    """The class of each test image by a classifier that was trained on what is kept, (M,)."""
    x, y, others = problem.features, problem.labels, problem.test_features
    if classifier in PENALTIES:
        model = LogisticRegression(C=1 / (2 * PENALTIES[classifier] * kept.sum()), max_iter=200, tol=1e-3)
        return model.fit(x[kept], y[kept]).predict(others)
    found = linear_probabilities(x, y, kept, others, classes=problem.classes, settings=settings)
    return found.argmax(axis=1)


def judge(suspicion: np.ndarray, flagged: np.ndarray, wrong: np.ndarray, judged: np.ndarray) -> dict[str, float | None]:
    """How well a suspicion finds the wrong labels; `first_100`: how many of them are among the 100 most suspicious."""
    order = np.argsort(-suspicion, kind="stable")
    known, none = wrong[judged], not wrong.any()
    return {
        "flagged": int(flagged.sum()),
        "auroc": None if none else roc_auc_score(known, suspicion[judged]),
        "ap": None if none else average_precision_score(known, suspicion[judged]),
        "f1": None if none else f1_score(known, flagged[judged]),
        "first_100": int(wrong[order[:100]].sum()),
    }


def mean_of(lines: list[Line], get: Callable[[Line], float | None], form: str) -> str:
    """The mean over the seeds and, of two or more, the standard deviation."""
    values = [value for line in lines if (value := get(line)) is not None]
    if not values:
        return "–"
    spread = f" ± {format(np.std(values, ddof=1), form)}" if len(values) > 1 else ""
    return format(np.mean(values), form) + spread


def right_answers(lines: list[Line], classifier: str, method: str) -> np.ndarray:
    """The mean over the seeds of whether each test image is right."""
    return np.mean([line["right"][classifier][method] for line in lines], axis=0)


def share_of_gain(lines: list[Line], classifier: str) -> str:
    """The gain of ours over that of the oracle, with its interval over the test images."""
    given, ours, oracle = (right_answers(lines, classifier, method) for method in ("as given", "ours", "oracle"))
    gain, most = ours - given, oracle - given
    if most.mean() < LEAST_GAIN:
        return "–"
    drawn = [(w @ gain) / (w @ most) for w in resampled_weights(lines[0]["test_groups"], seed=0)]
    low, high = percentile_interval(np.concatenate(drawn))
    return f"{gain.mean() / most.mean():.0%} [{low:.0%}, {high:.0%}]"


def print_tables(lines: list[Line]) -> None:
    """For each data folder: top-1 by each classifier, and how well the wrong labels are found."""
    for data in dict.fromkeys(line["data"] for line in lines):
        cases: dict[str, list[Line]] = {}
        for line in (line for line in lines if line["data"] == data):
            rate = f"{line['rate']:.0%} " if line["kind"] != "told" else ""
            cases.setdefault(rate + line["kind"], []).append(line)
        for classifier in CLASSIFIERS:
            print_scores(f"{data}, test top-1 by {classifier}", cases, classifier)
        print_found(data, cases)


def print_scores(title: str, cases: dict[str, list[Line]], classifier: str) -> None:
    methods = [name for name in METHODS if all(name in own[0]["right"][classifier] for own in cases.values())]
    versus = [(one, other) for one, other in COMPARED if {one, other} <= set(methods)]
    heads = ["seeds", *methods, *(f"{one} over {other}" for one, other in versus), "share of the oracle's gain"]
    print(f"\n**{title}**\n\n| | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for name, own in cases.items():
        cells = [name, str(len(own))]
        cells += [mean_of(own, lambda line, m=m: np.mean(line["right"][classifier][m]), ".3f") for m in methods]
        for pair in versus:
            now, then = (right_answers(own, classifier, method) for method in pair)
            score = bootstrap_difference(now, then, own[0]["test_groups"], seed=0)
            cells.append(f"{score.value:+.3f} [{score.low:+.3f}, {score.high:+.3f}]")
        print(f"| {' | '.join([*cells, share_of_gain(own, classifier)])} |")


def print_found(data: str, cases: dict[str, list[Line]]) -> None:
    names = [name for name in FINDERS if all(name in own[0]["found"] for own in cases.values())]
    heads = ["wrong", "estimated", "gain by the guard", "left out"]
    heads += [f"{what}: {name}" for what in ("AUROC", "AP", "F1", "wrong among the first 100") for name in names]
    print(f"\n**{data}, how well wrong labels are found**\n\n| | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for case, own in cases.items():
        guard = [f"{line['gain'][0]:+.3f} [{line['gain'][1]:+.3f}, {line['gain'][2]:+.3f}]" for line in own]
        cells = [case, mean_of(own, lambda line: line["wrong"] / line["images"], ".3f").partition(" ")[0]]
        cells += [mean_of(own, lambda line: line["estimate"], ".3f"), "; ".join(guard)]
        cells.append(f"in {sum(line['gain'][1] > 0 for line in own)} of {len(own)}")
        for key, form in (("auroc", ".3f"), ("ap", ".3f"), ("f1", ".3f"), ("first_100", ".0f")):
            cells += [mean_of(own, lambda line, n=name, k=key: line["found"][n][k], form) for name in names]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="a folder of classes")
    parser.add_argument("--other", type=Path, help="photographs that are no member of any class")
    parser.add_argument("--told", metavar="COLUMN", help="of the table of DIR: corrected labels of some images")
    parser.add_argument("--group-column", help="of the table: images of one group are in one fold")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="only print the tables of OUT")
    given = parser.parse_args()
    if not given.table and given.data is None:
        parser.error("give --data")
    lines = [json.loads(text) for text in given.out.read_text().splitlines()] if given.out.is_file() else []
    if not given.table:
        if find_label_issues is None:
            print("cleanlab is not installed (pip install cleanlab): its columns are left out", file=sys.stderr)
        columns = ClassColumns(group=given.group_column)
        folder = Folder(given.data, columns, other=given.other, scratch=given.out.with_suffix(".files"))
        done = {(line["data"], line["kind"], line["rate"], line["seed"]) for line in lines}
        for case in folder.cases(given.seeds, told=bool(given.told)):
            if (folder.name, *case) in done:
                continue
            print(f"== {folder.name}, {case.kind}, {case.rate:.0%}, seed {case.seed}", file=sys.stderr, flush=True)
            problem = folder.as_told(given.told) if given.told else folder.plant(case)
            start = time.monotonic()
            line = {"data": folder.name, **case._asdict(), **measure(problem, case.seed)}
            lines.append(line | {"seconds": time.monotonic() - start})
            with given.out.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    print_tables(lines)


if __name__ == "__main__":
    with friendly_errors():
        main()
