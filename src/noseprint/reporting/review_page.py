"""The page on which a person decides about suspect labels: one HTML file that works without a network.

`review.html.j2` holds its text, `review.js` what its keys and buttons do.
"""

import base64
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np
import numpy.typing as npt

from noseprint.cleaning.decisions import Evidence, decided_by_people, file_hashes, read_log
from noseprint.cleaning.find import THRESHOLDS, Found, describe_suspicion
from noseprint.cleaning.options import CleaningOptions
from noseprint.cleaning.sample import SAMPLE_RULE, NoiseRate, draw_sample, margin_of_error, noise_rate, reviewed_blind
from noseprint.cleaning.suspicion import label_ranks
from noseprint.data.class_tables import ClassTable
from noseprint.data.decoding import in_threads
from noseprint.errors import printable
from noseprint.inference.classify import ClassifierOutputs
from noseprint.reporting.photographs import thumbnail
from noseprint.reporting.templates import render_template
from noseprint.version import __version__

MOST_SUSPECTS, MOST_OF_SAMPLE = 500, 200
"""The most suspects, and the most images of the random sample, on one page."""
BESIDE = 4
"""The most clean images of a class beside a suspect."""
TOP = 5
"""The classes of highest probability to which a key relabels."""
_SIDE, _SIDE_BESIDE, _QUALITY_BESIDE = 160, 80, 60  # px of the longer side; JPEG quality


@dataclass(frozen=True)
class Suspect:
    """An image to decide about.

    evidence: what is known about it; its proposal is what key r relabels to. reason: why it is suspect. top: the
    classes of highest probability, with the probabilities. beside_label, beside_proposal: clean images of the label
    given and of the proposed one.
    """

    path: Path
    evidence: Evidence
    reason: str = ""
    top: tuple[tuple[str, float], ...] = ()
    beside_label: tuple[Path, ...] = ()
    beside_proposal: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ReviewData:
    """What a review page is made from.

    data: the data folder. log: of decisions. The page names both in the command that adds its decisions. suspects: the
    most suspicious first. sample: images drawn at random, in the order in which to review them. noise: the estimate
    from the sample so far, None if no sample was drawn. classes: all of the data, to choose a label from.
    """

    data: Path
    log: Path
    suspects: Sequence[Suspect]
    sample: Sequence[Suspect] = ()
    noise: NoiseRate | None = None
    classes: Sequence[str] = ()


def collect_suspects(
    table: ClassTable,
    rows: Sequence[int],
    *,
    probabilities: npt.NDArray[np.floating],
    classes: Sequence[str],
    features: npt.NDArray[np.floating],
    clean: npt.NDArray[np.bool_],
    reasons: Sequence[str] = (),
    folds: Sequence[int] = (),
    networks: Sequence[str] = (),
    rule: str = "",
    round: int | None = None,
    threshold: float | None = None,
    skip: Collection[str] = (),
) -> list[Suspect]:
    """Gather what the page shows about some rows of a table.

    rows: those to show, the most suspicious first, or the sample in its order. probabilities (N, C): out-of-fold, of
    each image of the table for each of `classes`. features (N, D): of each image; those with the highest cosine are its
    nearest. clean (N,): which images may stand beside others. reasons: one for each of `rows`. folds (N,): the fold of
    each image. networks: the fingerprint of each fold's network. rule, round, threshold: see `Evidence`. skip: names of
    images to leave out, such as `decided_by_people`.
    """
    shown = [(row, reasons[at] if reasons else "") for at, row in enumerate(rows) if table.names[row] not in skip]
    hashes = file_hashes(table.paths[row] for row, _ in shown)
    column = {label: at for at, label in enumerate(classes)}
    scale = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    directions = features / scale
    of_class: dict[str, list[int]] = {}
    for row in np.flatnonzero(clean).tolist():
        of_class.setdefault(table.labels[row], []).append(row)

    def nearest(row: int, label: str) -> tuple[Path, ...]:
        among = [other for other in of_class.get(label, ()) if other != row]
        order = np.argsort(-(directions[among] @ directions[row]), kind="stable")[:BESIDE]
        return tuple(table.paths[among[at]] for at in order.tolist())

    suspects = []
    for row, reason in shown:
        given, row_of = table.labels[row], probabilities[row]
        order = np.argsort(-row_of, kind="stable")[:TOP].tolist()
        top = tuple((classes[at], float(row_of[at])) for at in order)
        proposal = next((item for item in top if item[0] != given), ("", 0.0))
        of_label = float(row_of[column[given]]) if given in column else None
        evidence = Evidence(
            image=table.names[row],
            sha256=hashes[table.paths[row]],
            label=given,
            rank=int(label_ranks(row_of[None], np.array([column[given]]))[0]) if given in column else None,
            probability=of_label,
            proposal=proposal[0],
            proposal_probability=proposal[1] if proposal[0] else None,
            fold=int(folds[row]) if len(folds) else None,
            round=round,
            rule=rule,
            threshold=threshold,
            network=networks[folds[row]] if len(folds) and networks else "",
        )
        beside = nearest(row, given), nearest(row, proposal[0])
        suspects.append(Suspect(table.paths[row], evidence, reason, top, *beside))
    return suspects


def review_data(
    images: ClassTable, outputs: ClassifierOutputs, found: Found, *, options: CleaningOptions, log: Path
) -> ReviewData:
    """What `render_review` needs, from the files of a cleaning. Images that a person has decided about are left out."""
    lines, classes = read_log(log), images.classes
    proposals = found.posterior.argmax(axis=1)
    suspects = np.flatnonzero(found.since > 0)
    suspects = suspects[np.argsort(-found.suspicion[suspects], kind="stable")]
    row_of = {name: row for row, name in enumerate(images.names)}
    drawn = draw_sample(images.names, share=options.share, seed=options.seed)
    settings = {
        "probabilities": found.probabilities,
        "classes": classes,
        "features": outputs.features,
        "clean": found.since == 0,
        "folds": found.folds,
    }
    return ReviewData(
        data=options.data,
        log=log,
        suspects=collect_suspects(
            images,
            suspects.tolist(),
            reasons=[
                describe_suspicion(found, row, label=images.labels[row], proposal=classes[proposals[row]])
                for row in suspects.tolist()
            ],
            rule=found.rule,
            threshold=THRESHOLDS.get(found.rule),
            skip=decided_by_people(lines),
            **settings,
        ),
        sample=collect_suspects(images, [row_of[name] for name in drawn], skip=reviewed_blind(lines), **settings),
        noise=noise_rate(lines, drawn),
        classes=classes,
    )


def render_review(review: ReviewData) -> str:
    """The page as HTML. The same data gives the same text.

    It holds at most MOST_SUSPECTS suspects and MOST_OF_SAMPLE images of the sample, whose proposals are not shown, and
    for each at most BESIDE images of a class. With photographs, a full page takes 10 to 17 MB.
    """
    suspects = list(review.suspects[:MOST_SUSPECTS])
    sample = [_blind(each) for each in review.sample[:MOST_OF_SAMPLE]]
    cards = [*sample, *suspects]
    beside = dict.fromkeys(
        path for card in cards for path in (*_first(card.beside_label), *_first(card.beside_proposal))
    )
    small = list(in_threads(_thumbnail_beside, list(beside), label="thumbnails"))
    content = [_content(card) for card in cards]
    script = (Path(__file__).parent / "review.js").read_text(encoding="utf-8")
    return render_template(
        "review.html.j2",
        filters={"printable": printable, "first": _first, "margin_of_error": margin_of_error},
        review=review,
        name=printable(review.data.resolve().name),
        options=printable(f"--data {quote(str(review.data))} --log {quote(str(review.log))}"),
        version=__version__,
        sample=sample,
        suspects=suspects,
        photographs=list(in_threads(_thumbnail, [card.path for card in cards], label="thumbnails")),
        beside=dict(zip(beside, small, strict=True)),
        number_of={path: number for number, path in enumerate(beside)},
        page={
            "key": hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16],
            "cards": content,
            "classes": list(review.classes),
        },
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _blind(suspect: Suspect) -> Suspect:
    """An image of the sample: without the proposal, and with the sample's rule."""
    evidence = replace(suspect.evidence, rule=SAMPLE_RULE, round=None, threshold=None)
    return Suspect(suspect.path, evidence, beside_label=suspect.beside_label)


def _content(card: Suspect) -> dict[str, object]:
    """What the script needs to know about a card. In the sample, nothing is proposed: r and the digits do nothing."""
    is_sample = card.evidence.rule == SAMPLE_RULE
    evidence = {name: value for name, value in asdict(card.evidence).items() if value not in (None, "")}
    return {
        "evidence": evidence,
        "sample": is_sample,
        "proposal": "" if is_sample else card.evidence.proposal,
        "top": [label for label, _ in card.top[:TOP]],
    }


def _first(paths: Sequence[Path]) -> Sequence[Path]:
    return paths[:BESIDE]


def _thumbnail(path: Path) -> str | None:
    return thumbnail(path, side=_SIDE)


def _thumbnail_beside(path: Path) -> str | None:
    return thumbnail(path, side=_SIDE_BESIDE, quality=_QUALITY_BESIDE)
