"""The review page as a parser sees it, and the rules of its script, if Node.js is there, as a browser runs them."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.cleaning.decisions import read_log
from noseprint.cleaning.label_files import add_decisions
from noseprint.cleaning.sample import NoiseRate
from noseprint.reporting import review_page
from noseprint.reporting.review_page import ReviewData, collect_suspects, render_review

SCRIPT = Path(review_page.__file__).parent / "review.js"
CLASSES = ("cat", "dog", "owl")


@dataclass(frozen=True)
class Images:
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]


@pytest.fixture(scope="module")
def table(tmp_path_factory, make):
    """12 photographs of 3 classes; the last row's class has a hostile name."""
    root = tmp_path_factory.mktemp("data")
    labels = [*(CLASSES * 4)[:-1], make.hostile.replace("\x07", "")]
    names = [f"train/{row}.png" for row in range(12)]
    for row, name in enumerate(names):
        (root / "train").mkdir(exist_ok=True)
        cv2.imwrite(str(root / name), np.full((200, 300, 3), 20 * row, np.uint8))
    return Images(tuple(root / name for name in names), tuple(labels), tuple(names))


def collect(table, rows, **given):
    """Suspects with features on a line: row n has the neighbours n - 1 and n + 1."""
    angles = np.linspace(0, 1, 12)
    probabilities = np.tile([0.2, 0.7, 0.1], (12, 1))
    options = {"clean": np.ones(12, bool), "folds": [row % 2 for row in range(12)], "networks": ["f0", "f1"]} | given
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return collect_suspects(table, rows, probabilities=probabilities, classes=CLASSES, features=features, **options)


@pytest.fixture(scope="module")
def review(table):
    suspects = collect(table, [0, 11, 2], reasons=["outside the top 1"] * 3, rule="top-1", round=2, threshold=1)
    return ReviewData(table.paths[0].parents[1], Path("log's.jsonl"), suspects, collect(table, [5, 0]))


@pytest.fixture(scope="module")
def html(review):
    return render_review(review)


@pytest.fixture(scope="module")
def page(html, make):
    return make.parse(html)


def content(html):
    return json.loads(re.search(r'<script type="application/json" id="cards">(.*?)</script>', html, re.S)[1])


def test_what_is_collected_about_a_suspect(table):
    (suspect, last) = collect(table, [0, 11], reasons=["why", ""], rule="top-1", round=2, threshold=1)
    evidence = suspect.evidence
    assert evidence.sha256 == hashlib.sha256(table.paths[0].read_bytes()).hexdigest()
    assert (evidence.image, evidence.label, evidence.rank, evidence.probability) == ("train/0.png", "cat", 2, 0.2)
    assert (evidence.proposal, evidence.proposal_probability, evidence.fold, evidence.network) == ("dog", 0.7, 0, "f0")
    assert (evidence.rule, evidence.round, evidence.threshold, suspect.reason) == ("top-1", 2, 1, "why")
    assert suspect.top == (("dog", 0.7), ("cat", 0.2), ("owl", 0.1))
    assert suspect.beside_label == tuple(table.paths[row] for row in (3, 6, 9))  # the nearest first, without itself
    assert suspect.beside_proposal == tuple(table.paths[row] for row in (1, 4, 7, 10))
    assert (last.evidence.rank, last.evidence.probability, last.beside_label) == (None, None, ())  # no such class


def test_only_clean_images_stand_beside_and_decided_ones_are_skipped(table):
    clean = np.ones(12, bool)
    clean[[3, 4]] = False
    (suspect,) = collect(table, [0, 1], clean=clean, skip={"train/1.png"})
    assert suspect.beside_label == (table.paths[6], table.paths[9])
    assert suspect.beside_proposal == (table.paths[1], table.paths[7], table.paths[10])


def test_the_label_itself_is_not_proposed(table):
    (suspect,) = collect(table, [1])
    assert (suspect.evidence.label, suspect.evidence.rank, suspect.evidence.proposal) == ("dog", 1, "cat")


def test_the_page_loads_nothing_and_runs_only_its_own_script(html, page):
    assert page.all("link") == page.all("iframe") == []
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    script = re.search(r"<script>(.*?)</script>", html, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert script == SCRIPT.read_text(encoding="utf-8")
    assert len(page.all("script")) == 2
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import|https?:", html)


def test_every_photograph_is_there_once_and_has_a_name(html, page):
    names = ["train/5.png", "train/0.png", "train/0.png", "train/11.png", "train/2.png"]
    assert [image["alt"] for image in page.all("img")] == [f"Photograph {name}" for name in names]
    used = [each["href"] for each in page.all("use")]
    symbols = [f"#{each['id']}" for each in page.all("symbol")]
    assert set(used) == set(symbols)
    assert len(symbols) == len(set(symbols)) < len(used)
    drawings = [each for each in page.all("svg") if each.get("role") == "img"]
    assert len(drawings) == len(used)
    assert all(each["aria-label"].startswith("Clean image of ") for each in drawings)


def test_without_a_script_the_page_is_a_list_with_labels_proposals_and_reasons(page, make):
    suspects = page.text[page.text.index("Suspects 3. train/0.png") :]
    assert (
        "Label given: cat (20.0 %), rank 2 Proposed: dog (70.0 %) outside the top 1 dog 70.0 % cat 20.0 %" in suspects
    )
    assert f"Label given: {make.hostile.replace(chr(7), '')} Proposed: dog" in suspects
    assert "Clean images of cat Clean images of dog" in suspects
    (bar,) = [each for each in page.all("div") if each.get("id") == "bar"]
    assert "hidden" in bar
    assert "log&#39;s" not in page.text
    assert """--log 'log'"'"'s.jsonl'""" in page.text


def test_the_sample_comes_first_and_is_blind(html, page):
    sample = page.text[page.text.index("Random sample Is the label") : page.text.index("Suspects 3.")]
    assert "Label given: owl" in sample
    assert "Proposed" not in sample
    assert "%" not in sample
    cards = content(html)["cards"]
    assert [card["sample"] for card in cards] == [True, True, False, False, False]
    assert [(card["proposal"], card["top"]) for card in cards[:2]] == [("", [])] * 2
    assert cards[0]["evidence"]["rule"] == "sample"
    assert cards[2]["evidence"]["rule"] == "top-1"


@pytest.mark.parametrize(
    ("noise", "sampled", "text"),
    [
        (None, False, "is not known: there is no random sample"),
        (
            NoiseRate(0, 0, 180),
            True,
            "is not known yet. Review the random sample of 2 images to estimate it, to about ±33 points.",
        ),
        (
            NoiseRate(7, 120, 1800, 7 / 120, 0.0286, 0.1155),
            False,
            "Wrong labels: 5.8 %, 95 % interval 2.9 % to 11.6 %. A person looked at 120 images of a random sample of "
            "1,800; 7 had a wrong label.",
        ),
    ],
)
def test_the_first_lines_say_how_many_labels_are_wrong(review, make, noise, sampled, text):
    changed = replace(review, noise=noise, sample=review.sample if sampled else ())
    assert text in make.parse(render_review(changed)).text


def test_a_page_has_a_stated_cap(review, make, monkeypatch):
    monkeypatch.setattr(review_page, "MOST_SUSPECTS", 2)
    monkeypatch.setattr(review_page, "MOST_OF_SAMPLE", 1)
    html = render_review(review)
    text = make.parse(html).text
    assert "3 suspects. This page shows the 2 most suspicious" in text
    assert "This page shows 1 of 2 images" in text
    assert len(content(html)["cards"]) == 3


def test_the_page_says_which_photographs_cannot_be_read_and_that_nothing_is_suspect(review, make):
    broken = Path("none.jpg")
    suspect = replace(review.suspects[0], path=broken, beside_label=(broken,), beside_proposal=())
    assert make.parse(render_review(replace(review, suspects=[suspect], sample=()))).text.count("cannot be read") == 2
    assert "Nothing is suspect." in make.parse(render_review(replace(review, suspects=[], sample=()))).text


def test_the_same_data_gives_the_same_page_and_other_suspects_another_store(review, html):
    assert render_review(review) == html
    other = render_review(replace(review, suspects=review.suspects[:1]))
    assert content(other)["key"] != content(html)["key"]


def test_500_suspects_with_8_images_beside_each_are_well_below_20_mb(review, tmp_path):
    """Every image is another one, and of much detail: 12 x 16 blocks of noise, with colour."""
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC))
    large, small = (make(tmp_path / "a.jpg") for make in (review_page._thumbnail, review_page._thumbnail_beside))
    beside = tuple(Path(f"{row}.jpg") for row in range(4))
    suspect = replace(review.suspects[0], path=Path("none.jpg"), beside_label=beside, beside_proposal=beside)
    html = render_review(replace(review, suspects=[suspect] * 500))
    assert 4_000 < len(large) < 9_000
    assert len(small) > 1_500
    assert len(html) + 500 * (len(large) + 8 * len(small)) < 15e6


def test_the_script_and_the_page_agree_on_names(html, page):
    """Without a browser: every key that the script knows has a button, and every id that it looks for is there."""
    script = SCRIPT.read_text(encoding="utf-8")
    (keys,) = re.findall(r"\^\(\[(\w+)1-5\]\|Arrow", script)
    buttons = [button["data-key"] for button in page.all("button")]
    assert sorted(buttons) == sorted([*keys, *"12345", "ArrowUp", "ArrowDown"])
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    looked_for = set(re.findall(r'getElementById\("(\w+)"\)|say\("(\w+)"', script))
    assert (
        {name for pair in looked_for for name in pair if name}
        == {"cards", "bar", "choice", "status", "estimate"}
        <= ids
    )
    assert len([each for each in page.all("li") if each.get("class") == "card"]) == len(content(html)["cards"])
    assert len([each for each in page.all("p") if each.get("class") == "verdict"]) == len(content(html)["cards"])
    assert "innerHTML" not in script
    for word in ('"drop"', '"keep"', '"not a member"', '"relabel"'):
        assert word in script


STEPS = """
const rules = require(process.argv[1]);
const { cards, classes, presses } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const state = rules.start(cards, classes);
const changed = presses.map((key, n) => rules.press(state, key, `2026-01-01T00:00:${String(n).padStart(2, "0")}.000Z`));
const again = rules.start(cards);
rules.load(again, rules.save(state));
const outside = ['{"at": 99, "past": [], "decided": {}}', '{"at": 0, "past": [], "decided": {"99": {}}}'];
for (const text of [null, "", "{", "[]", ...outside]) rules.load(again, text);
console.log(JSON.stringify({ changed, at: again.at, lines: rules.lines(again), sample: rules.sample(state) }));
"""


def run_script(cards, presses):
    command = [shutil.which("node"), "-e", STEPS, str(SCRIPT)]
    given = json.dumps({"cards": cards, "classes": CLASSES, "presses": presses})
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_the_keys_do_and_that_the_log_takes_it(html, table, tmp_path):
    """Needs Node.js; without it, the lines below stand for what the script gives."""
    cards = content(html)["cards"]
    presses = ["k", "r", "d", "u", "d", "r", "3", "1", "ArrowUp", "x", "u", "2", "n", "ArrowDown", "k"]
    expected = [
        ("train/5.png", "keep", ""), ("train/0.png", "drop", ""), ("train/0.png", "relabel", "dog"),
        ("train/11.png", "relabel", "owl"), ("train/2.png", "keep", ""),
    ]  # fmt: skip
    if shutil.which("node"):
        done = run_script(cards, presses)
        # r does nothing in the sample, x nowhere; u takes back 1; arrows stop at the last card
        assert done["changed"] == [n not in (1, 9, 13) for n in range(15)]
        assert done["at"] == 4
        assert done["sample"] == pytest.approx(
            {"n": 2, "wrong": 1, "share": 0.5, "low": 0.0945312, "high": 0.9054688}, abs=1e-6
        )
        lines = done["lines"]
    else:
        when = "2026-01-01T00:00:00.000Z"
        made = zip(cards, expected, strict=True)
        every = [
            card["evidence"] | {"decision": decision, "when": when} | ({"to": to} if to else {})
            for card, (_, decision, to) in made
        ]
        lines = "".join(json.dumps(line) + "\n" for line in every)
    file, log = tmp_path / "page.jsonl", tmp_path / "log.jsonl"
    file.write_text(lines, encoding="utf-8")
    add_decisions(log, file, table, who="Ann")
    assert [(line.image, line.decision, line.to) for line in read_log(log)] == expected


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_a_class_that_is_typed_relabels_in_the_sample_too(html):
    cards = content(html)["cards"]
    done = run_script(cards, ["class unicorn", "class cat", "class cat"])
    assert done["changed"] == [False, True, True]
    first, second = map(json.loads, done["lines"].splitlines())
    assert (first["image"], first["decision"], first["to"]) == ("train/5.png", "relabel", "cat")
    assert (second["image"], second["decision"], "to" in second) == ("train/0.png", "keep", False)  # it is a cat
