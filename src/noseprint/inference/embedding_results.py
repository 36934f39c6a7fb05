"""Writes the embedding that was chosen: weights, scores.csv, and lines that say where training did harm."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from noseprint.calibration.fitting import fit_calibration
from noseprint.data.csv_rows import write_csv
from noseprint.data.holdout import HOLDOUT_SEED
from noseprint.data.instances import ALL_DOMAINS, InstanceTable
from noseprint.files import atomic_write
from noseprint.inference.embedding_choice import Choice
from noseprint.inference.gallery import gallery_of, write_gallery
from noseprint.inference.reduction import join
from noseprint.metrics.holdout_scores import evaluate_holdout
from noseprint.metrics.instances import by_domain
from noseprint.models.weights import load_projection, save_weights

SCORES_HEADER = ("step", "domain", "metric", "value", "low", "high")
PRECISION, AVERAGE_PRECISION, HELD_OUT = "mP@5", "mAP", "held-out mAP"
"""The metrics of scores.csv. The first two are of the test or, if there is none, of the hold-out. The last one chooses,
since precision at 5 is easily perfect where an identity has near copies, such as photographs of one minute. Average
precision needs all of its photographs."""


def write_choice(results: Path, choice: Choice, table: InstanceTable, *, data: Path) -> None:
    """Write what is taken to `results`, each file completely or not at all.

    - best.safetensors: the network, with its scores on the hold-out and the calibration of its cosines. The calibration
      is that of the projection before it was fitted to the hold-out, too.
    - embeddings.safetensors: a gallery of all photographs of the table.
    - scores.csv: the scores of all candidates. choice.json: which one is taken, and the warnings.
    """
    candidate, parts = choice.taken.candidate, np.array(table.parts)
    assert candidate.fit is not None
    network = join(
        [load_projection(source.weights) for source in candidate.sources], projection=candidate.fit(parts != "test")
    )
    val = table.part("val")
    pairs = evaluate_holdout(candidate.embeddings(parts == "train")[parts == "val"], val.identities, seed=HOLDOUT_SEED)
    header = {
        "recipe": "universal_embedding",
        "training": json.dumps({"loss": candidate.name}),
        "holdout": json.dumps({"map": choice.taken.value, "auc": pairs.auc, "rank_1": pairs.rank_1}),
        "calibration": fit_calibration(pairs.similarity, pairs.same, pairs.identity_a, pairs.identity_b).to_json(),
    }
    about = {
        "taken": candidate.name,
        "frozen": choice.frozen.candidate.name,
        "on_test": choice.on_test,
        "warnings": guard_lines(choice),
    }
    write_csv(results / "scores.csv", SCORES_HEADER, score_rows(choice))
    with atomic_write(results / "choice.json") as part:
        part.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    weights = results / "best.safetensors"
    save_weights(weights, network.eval(), extra=header)
    rows, records = candidate.embeddings(parts != "test"), candidate.sources[0].records
    gallery = gallery_of(rows, table.names, weights=[weights], folder=data, records=records)
    write_gallery(results / "embeddings.safetensors", gallery)


def score_rows(choice: Choice) -> Iterator[tuple[str, str, str, float, float, float]]:
    """The rows of scores.csv: step, domain, metric, value, low, high."""
    for one in choice.judged:
        kinds = (
            (PRECISION, one.scores, one.scores.precision_at_5),
            (AVERAGE_PRECISION, one.scores, one.scores.average_precision),
            (HELD_OUT, one.held_out, one.held_out.average_precision),
        )
        for metric, scores, values in kinds:
            for domain, score in by_domain(values, scores).items():
                numbers = (round(number, 6) for number in (score.value, score.low, score.high))
                yield (one.candidate.name, domain, metric, *numbers)  # type: ignore[misc]


def choice_lines(choice: Choice) -> Iterator[str]:
    """What was chosen, how good it is, and where it is worse than no training, as lines of text."""
    where = "test" if choice.on_test else "hold-out, which also chose"
    yield f"{'held-out mAP':>12}  {'mP@5':>6}  {'mAP':>6}   ({where})"
    for one in sorted(choice.judged, key=lambda one: one.value):
        of_all = by_domain(one.scores.average_precision, one.scores)[ALL_DOMAINS]
        yield f"{one.value:12.3f}  {one.scores.mean:6.3f}  {of_all.value:6.3f}   {one.candidate.name}"
    taken, frozen = choice.taken, choice.frozen
    yield f"Taken: {taken.candidate.name}. Without any training: {frozen.candidate.name}."
    for metric, now, then in (
        (PRECISION, taken.scores.precision_at_5, frozen.scores.precision_at_5),
        (AVERAGE_PRECISION, taken.scores.average_precision, frozen.scores.average_precision),
    ):
        mean, gain = (by_domain(now, taken.scores, than=than)[ALL_DOMAINS] for than in (None, then))
        yield f"{metric} {mean}, {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] against no training"
    yield from guard_lines(choice)


def guard_lines(choice: Choice) -> list[str]:
    """A warning that names the domains in which the embedding is worse than no training; an empty list without any."""
    if not choice.lost:
        return []
    listed = ", ".join(
        f"{name} by {-one.value:.3f} [{-one.high:.3f}, {-one.low:.3f}]" for name, one in choice.lost.items()
    )
    return [
        f"warning: mAP is lower than without any training in {listed}. If these domains matter, run again with --take "
        "mixture or --take frozen, and compare"
    ]
