"""What a cleaning changed, and how good the members are that were trained after it, in lines of text."""

from collections.abc import Mapping
from pathlib import Path

from scipy.special import softmax

from noseprint.cleaning.label_files import cleaned_table
from noseprint.data.class_columns import ClassColumns
from noseprint.inference.classify import read_outputs
from noseprint.metrics.classification import classification_scores


def outcome(data: Path, *, columns: ClassColumns, labels: Path | None, members: Mapping[str, Path]) -> list[str]:
    """The lines. labels: the cleaned table; None: the labels of the data. members: name -> the folder of its results.

    Raises DataError and NoseprintError as `cleaned_table` and `read_outputs` do.
    """
    given, used = (cleaned_table(data, columns=columns, labels=table) for table in (None, labels))
    label_of = dict(zip(given.split("train").names, given.split("train").labels, strict=True))
    kept = used.split("train")
    changed = sum(label_of[name] != label for name, label in zip(kept.names, kept.labels, strict=True))
    what = f"{len(label_of) - len(kept)} left out, {changed} with a new label" if labels else "with the labels given"
    lines = ["", f"{len(label_of)} training images, {what}. Top-1 on the images that were held out:"]
    outputs = {name: read_outputs(results / "holdout.safetensors") for name, results in members.items()}
    answers = {name: softmax(one.logits, axis=1) for name, one in outputs.items()}
    answers["their mean"] = sum(answers.values()) / len(answers)
    first = next(iter(outputs.values()))
    row_of = {name: row for row, name in enumerate(used.names)}
    rows = [row_of[name] for name in first.names]
    truth = [used.labels[row] for row in rows]
    groups = [used.groups[row] for row in rows] if used.groups else None
    for name, probability in answers.items():
        scores = classification_scores(probability, truth, classes=first.classes, groups=groups)
        top, mean = scores.top_1, scores.mean_per_class
        lines.append(
            f"  {name:12} {top.value:.3f} [{top.low:.3f}, {top.high:.3f}], mean of the classes {mean.value:.3f}"
        )
    return lines
