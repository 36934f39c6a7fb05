"""calibrate, verify, and the file between them, with tiny networks on synthetic prints."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from noseprint.calibration.calibrate import NothingHeldOutError, calibrate
from noseprint.calibration.curves import Beta, Isotonic, Platt
from noseprint.calibration.verifier import OperatingPoint, read_verifier, weights_of, write_verifier
from noseprint.calibration.verifier_file import FORMAT
from noseprint.calibration.verify import decide, probability_text, verdict_lines, verify
from noseprint.data.decoding import decode
from noseprint.data.demo import write_demo
from noseprint.data.holdout import HOLDOUT_SEED, holdout_hash, photograph_hashes, split_holdout
from noseprint.data.tables import TRAIN_HEADER, read_train, write_csv
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Score
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, save_weights
from noseprint.reporting.verdict_picture import draw

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Fifteen identities, five of them held out, which are the fewest: never change it."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    write_demo(folder, train_identities=15, pair_identities=4, seed=0)
    return folder


def write_weights(path, *, seed=0, held_out="none of these", **extra):
    torch.manual_seed(seed)
    network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
    save_weights(path, network, extra={"training": '{"holdout": 0.2}', "held_out": held_out} | extra)
    return path


def mark_of(data):
    return holdout_hash(split_holdout(read_train(data).identities, share=0.2, seed=HOLDOUT_SEED))


@pytest.fixture(scope="module")
def made(tmp_path_factory, demo):
    """A root with two members and their verifier: never change it."""
    root = tmp_path_factory.mktemp("root")
    weights = {
        name: write_weights(root / name / "results" / "small" / "best.safetensors", seed=seed, held_out=mark_of(demo))
        for seed, name in enumerate(("one", "two"))
    }
    folder = root / "results" / "small"
    verifier = calibrate(weights, demo, folder=folder, device=CPU, engine="torch")
    write_verifier(folder / "verifier.json", verifier)
    return folder / "verifier.json", verifier, weights


def noseprint(*words):
    return subprocess.run(
        [sys.executable, "-m", "noseprint", *map(str, words)], capture_output=True, text=True, timeout=120
    )


def test_it_is_made_from_the_hold_out_alone(made, demo):
    _, verifier, _ = made
    table = read_train(demo)
    held_out = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    images = sum(identity in held_out for identity in table.identities)
    told = verifier.holdout
    assert (told.identities, told.photographs, told.share) == (len(held_out), images, 0.2)
    assert told.mark == holdout_hash(held_out)
    assert told.cohort == min(200, len(table) - images)
    of_each = [sum(identity == one for identity in table.identities) for one in held_out]
    assert told.same_pairs == sum(n * (n - 1) // 2 for n in of_each)
    assert told.different_pairs == images * (images - 1) // 2 - told.same_pairs + images * told.cohort
    assert verifier.least_fmr == pytest.approx(30 / told.different_pairs)
    assert [point.fmr for point in verifier.points] == [r for r in (0.1, 0.01, 0.001) if r >= verifier.least_fmr]


def test_thresholds_keep_their_promise_on_the_hold_out(made, demo):
    _, verifier, weights = made
    table = read_train(demo)
    held_out = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    sides = [load_network(path) for path in weights.values()]
    embeddings = [embed_images(n, table.paths, transform=A.Resize(32, 32), device=CPU, workers=0) for n in sides]
    similarity = np.mean([e @ e.T for e in embeddings], axis=0)
    point = verifier.points[0]
    false = total = low = same = 0
    for i, first in enumerate(table.identities):
        for j, second in enumerate(table.identities[:i]):
            if first == second and first in held_out:
                same += 1
                low += similarity[i, j] < point.fnmr_threshold - 1e-6
            elif first != second and (first in held_out or second in held_out):
                total += 1
                false += similarity[i, j] >= point.threshold - 1e-6
    assert total == verifier.holdout.different_pairs  # the cohort is everyone here
    assert point.measured_fmr.high <= point.fmr
    assert [p.threshold for p in verifier.points] == sorted(p.threshold for p in verifier.points)
    assert false / total == pytest.approx(point.measured_fmr.value, abs=2 / total)
    assert low / same <= point.fmr
    assert point.measured_fmr.low <= point.measured_fmr.value <= point.measured_fmr.high


def trusted(verifier, *, identities=25, loss=(0.3, 0.2, 0.5), **changes):
    """The verifier as if made from so many identities, with a log loss of its own."""
    holdout = dataclasses.replace(verifier.holdout, identities=identities)
    reliability = dataclasses.replace(verifier.reliability, log_loss=Score(*loss))
    return dataclasses.replace(verifier, holdout=holdout, reliability=reliability, **changes)


def test_a_caution_stands_while_few_identities_are_held_out(made):
    _, verifier, _ = made
    assert "24 held-out identities" in trusted(verifier, identities=24).caution
    assert trusted(verifier, calibration=Platt(5.0, 0.0)).caution is None


@pytest.mark.parametrize("loss", [(0.68, 0.67, 0.69), (0.5, 0.3, 0.7)])
def test_a_probability_that_is_no_better_than_even_odds_is_told_to_be_worthless(made, loss):
    _, verifier, _ = made
    curve = Platt(5.0, 0.0)
    assert "the probability tells nothing" in trusted(verifier, calibration=curve, loss=loss).caution
    both = trusted(verifier, calibration=curve, loss=loss, identities=9).caution
    assert both.startswith("made from 9")
    assert "the probability tells nothing" in both


@pytest.mark.parametrize("flat", [Platt(0.0, 0.1), Beta(0.0, 0.0, 1.0), Isotonic((0.5,), (1.0,))])
def test_a_curve_that_says_the_same_of_every_pair_is_told_to_be_worthless(made, flat):
    assert "the probability tells nothing" in trusted(made[1], calibration=flat).caution


def rewritten(data, to, rows):
    """The folder, with other rows (identity, image name) in its training table."""
    shutil.copytree(data, to)
    write_csv(to / "train" / "train_data.csv", TRAIN_HEADER, rows)
    return to


def rows_of(data, *, most=99):
    """Rows of the training table, up to `most` of each held-out identity; and the held-out identities."""
    table, rows = read_train(data), []
    held_out = sorted(split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED))
    for path, identity in zip(table.paths, table.identities, strict=True):
        before = sum(one == identity for one, _ in rows)
        if identity not in held_out or before < most:
            rows.append((identity, path.name))
    return rows, held_out


def test_an_identity_with_many_photographs_crowds_none_out(demo, tmp_path, monkeypatch):
    rows, held_out = rows_of(demo, most=2)
    data = rewritten(demo, tmp_path / "data", rows)
    first = next(name for identity, name in rows if identity == held_out[0])
    many = [(held_out[0], f"{number}.jpg") for number in range(60)]
    for _, name in many:
        shutil.copyfile(data / "train" / "images" / first, data / "train" / "images" / name)
    write_csv(data / "train" / "train_data.csv", TRAIN_HEADER, rows + many)
    weights = {"one": write_weights(tmp_path / "one.safetensors", held_out=mark_of(data))}
    monkeypatch.setattr("noseprint.calibration.calibrate.MOST_SAME", 100)
    verifier = calibrate(weights, data, folder=tmp_path, device=CPU, engine="torch")
    assert (verifier.holdout.identities, verifier.holdout.photographs) == (5, 70)
    monkeypatch.setattr("noseprint.calibration.calibrate.MOST_PHOTOGRAPHS", 40)
    thinned = calibrate(weights, data, folder=tmp_path, device=CPU, engine="torch")
    assert (thinned.holdout.identities, thinned.holdout.photographs) == (5, 40)
    assert thinned == calibrate(weights, data, folder=tmp_path, device=CPU, engine="torch")


def test_of_fewer_than_five_identities_none_is_made(demo, tmp_path):
    data = rewritten(demo, tmp_path / "data", rows_of(demo)[0])
    table = read_train(data)
    held_out = sorted(split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED))
    seen = set()
    for path, identity in zip(table.paths, table.identities, strict=True):
        if identity == held_out[0] and identity in seen:
            path.write_bytes(b"")  # one is left
        seen.add(identity)
    weights = {"one": write_weights(tmp_path / "one.safetensors", held_out=mark_of(data))}
    with pytest.raises(NothingHeldOutError, match=r"only 4 of the held-out identities .*larger --holdout"):
        calibrate(weights, data, folder=tmp_path, device=CPU, engine="torch")


def test_the_same_again_gives_the_same_bytes(made, demo, tmp_path):
    path, _, weights = made
    again = calibrate(weights, demo, folder=path.parent, device=CPU, engine="torch")
    write_verifier(tmp_path / "verifier.json", again)
    assert (tmp_path / "verifier.json").read_bytes() == path.read_bytes()


def test_the_file_gives_back_every_bit(made):
    path, verifier, weights = made
    assert read_verifier(path) == verifier
    found = weights_of(verifier, path)
    assert {name: place.resolve() for name, place in found.items()} == weights


def changed(path, out, edit):
    told = json.loads(path.read_text())
    edit(told)
    out.write_text(json.dumps(told))
    return out


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: t.update(format="noseprint verifier 2"),
        lambda t: t.pop("points"),
        lambda t: t.update(more=1),
        lambda t: t.update(points=[]),
        lambda t: t["points"].reverse() if len(t["points"]) > 1 else t.update(points=t["points"] * 2),
        lambda t: t["points"][0].update(threshold=float("nan")),
        lambda t: t["points"][0].update(threshold=1e9),
        lambda t: t["points"][0].update(fmr="0.1"),
        lambda t: t["points"][0].update(fmr=True),
        lambda t: t["members"].append(t["members"][0]),
        lambda t: t.update(members=[]),
        lambda t: t["members"][0].update(fingerprint="x"),
        lambda t: t["members"][0].update(fingerprint=t["members"][1]["fingerprint"]),
        lambda t: t["members"][0].update(name="a\x1b[31m"),
        lambda t: t["members"][0].update(calibration={"slope": "1", "intercept": 0}),
        lambda t: t["calibration"].clear(),
        lambda t: t["quality"]["sharpness"].update(least=-1),
        lambda t: t.update(holdout=None),
        lambda t: t["holdout"].update(identities=-5),
        lambda t: t["holdout"].update(identities=4),
        lambda t: t["points"].append(t["points"][-1] | {"fmr": 1e-4, "threshold": -1.0}),
        lambda t: t["points"][0].update(threshold=-1.0, fnmr_threshold=2.5),
        lambda t: t["points"].append(t["points"][-1] | {"fmr": 1e-4, "fnmr_threshold": 1.5}),
        lambda t: t["points"][0]["measured_fmr"].update(value=0.9),
        lambda t: t["reliability"]["brier"].update(value=-0.1, low=-0.2),
        lambda t: t["members"][0]["reliability"]["log_loss"].update(value=-0.1),
        lambda t: t["points"][0]["tmr"].update(value=7.0),
        lambda t: t["points"][0]["measured_fmr"].update(low=0.9, high=0.1),
        lambda t: t["calibration"].update({"family": "platt", "slope": -1.0, "intercept": 0.0}),
        lambda t: t.update(least_fmr=10**400),
    ],
)
def test_a_file_that_lies_is_refused(made, tmp_path, edit):
    wrong = changed(made[0], tmp_path / "verifier.json", edit)
    with pytest.raises(NoseprintError, match="noseprint calibrate") as error:
        read_verifier(wrong)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("text", ["", "5", "[" * 100_000, '{"format": "noseprint verifier 1"}', "\xff"])
def test_what_is_no_verifier_is_refused(tmp_path, text):
    (tmp_path / "v.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(NoseprintError, match="noseprint calibrate"):
        read_verifier(tmp_path / "v.json")


def test_other_weights_are_refused(made, tmp_path):
    path, *_ = made
    root = shutil.copytree(path.parents[2], tmp_path / "root")
    copy = root / "results" / "small" / "verifier.json"
    weights_of(read_verifier(copy), copy)
    write_weights(root / "two" / "results" / "small" / "best.safetensors", seed=9)
    with pytest.raises(NoseprintError, match=r"two.* not the weights .*calibrate again"):
        weights_of(read_verifier(copy), copy)
    (root / "two" / "results" / "small" / "best.safetensors").unlink()
    with pytest.raises(NoseprintError, match="no such weights file"):
        weights_of(read_verifier(copy), copy)


def test_weights_that_no_verifier_can_be_made_for(tmp_path, demo):
    none = write_weights(tmp_path / "all.safetensors", training='{"holdout": 0.0}')
    silent = write_weights(tmp_path / "silent.safetensors", training="{}")
    for path, says in ((none, "trained on all"), (silent, "does not say"), (tmp_path / "a.pth", "does not say")):
        with pytest.raises(NothingHeldOutError, match=says):
            calibrate({"m": path}, demo, folder=tmp_path, device=CPU)
    a, b = (
        write_weights(tmp_path / "a.safetensors"),
        write_weights(tmp_path / "b.safetensors", training='{"holdout": 0.3}'),
    )
    with pytest.raises(NoseprintError, match=r"different shares .*a 0\.2, b 0\.3"):
        calibrate({"a": a, "b": b}, demo, folder=tmp_path, device=CPU)
    stale = write_weights(tmp_path / "c.safetensors", held_out=holdout_hash(["1", "2"]))
    with pytest.raises(NothingHeldOutError, match="with other identities held out"):
        calibrate({"c": stale}, demo, folder=tmp_path, device=CPU)


def test_data_without_photographs_of_a_training_have_nothing_held_out(made, tmp_path):
    with pytest.raises(NothingHeldOutError, match="has no training photographs"):
        calibrate(made[2], tmp_path, folder=tmp_path, device=CPU)


def test_other_photographs_under_the_same_names_are_other_data(demo, tmp_path, capsys):
    data = rewritten(demo, tmp_path / "data", rows_of(demo)[0])
    table = read_train(data)
    held_out = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    photographs = table.where(identity in held_out for identity in table.identities)
    marks = {"held_out": mark_of(data), "held_out_photographs": photograph_hashes(photographs)}
    weights = {"one": write_weights(tmp_path / "one.safetensors", **marks)}
    photographs.paths[0].write_bytes(photographs.paths[0].read_bytes() + b"0")
    photographs.paths[1].unlink()
    calibrate(weights, data, folder=tmp_path, device=CPU, engine="torch")
    assert "came since the training: 1, that went: 2 " in capsys.readouterr().out
    for path in photographs.paths[2:]:
        path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(NothingHeldOutError, match=r"with other photographs than .* 0 of those held out are the same"):
        calibrate(weights, data, folder=tmp_path, device=CPU, engine="torch")


def test_similarity_probability_and_members(made, demo):
    path, verifier, weights = made
    a, b = sorted((demo / "test" / "images").iterdir())[:2]
    verdict = verify((a, b), verifier, path=path, device=CPU, engine="torch")
    cosines = []
    for place in weights.values():
        first, second = embed_images(load_network(place), [a, b], transform=A.Resize(32, 32), device=CPU, workers=0)
        cosines.append(float(first @ second))
    assert [cosine for _, cosine, _ in verdict.members.values()] == pytest.approx(cosines, abs=1e-5)
    assert verdict.similarity == pytest.approx(np.mean(cosines), abs=1e-5)
    assert verdict.probability == pytest.approx(float(verifier.calibration.probability(verdict.similarity)))
    rare = verify((a, b), verifier, path=path, device=CPU, prior=0.001, engine="torch")
    assert rare.probability < verdict.probability
    assert rare.decision == verdict.decision
    back = verify((b, a), verifier, path=path, device=CPU, engine="torch")
    assert (back.similarity, back.decision) == (pytest.approx(verdict.similarity, abs=1e-6), verdict.decision)
    with pytest.raises(NoseprintError, match="prior 1"):
        verify((a, b), verifier, path=path, device=CPU, prior=1)


def point(threshold, fnmr_threshold):
    return OperatingPoint(0.01, threshold, Score(0.01, 0, 0.02), Score(0.9, 0.8, 1.0), fnmr_threshold)


def test_three_answers():
    answers = {s: decide(s, point(0.7, 0.5), []) for s in (0.49, 0.5, 0.69, 0.7)}
    told = {s: (answer, reasons[0].code) for s, (answer, reasons) in answers.items()}
    assert told == {
        0.49: ("different", "below_threshold"),
        0.5: ("cannot tell", "uncertain"),
        0.69: ("cannot tell", "uncertain"),
        0.7: ("same", "above_threshold"),
    }


def test_where_both_errors_keep_their_rate_everything_is_decided():
    assert [decide(s, point(0.5, 0.7), [])[0] for s in (0.49, 0.5, 0.6, 0.7)] == ["different", "same", "same", "same"]


def test_a_rate_that_is_not_supported_is_refused_with_the_lowest_that_is(made):
    _, verifier, _ = made
    lowest = verifier.points[-1].fmr
    assert verifier.operating_point(None).fmr == verifier.operating_point(lowest).fmr == lowest
    with pytest.raises(NoseprintError, match=rf"do not support it .*lowest they do is {lowest:g}"):
        verifier.operating_point(lowest / 10)
    with pytest.raises(NoseprintError, match="has thresholds for"):
        verifier.operating_point(0.5)
    for rate in (0, -1, 1):
        with pytest.raises(NoseprintError, match="between 0 and 1"):
            verifier.operating_point(rate)


def limited(verifier, **least):
    limits = {name: dataclasses.replace(getattr(verifier.quality, name), least=value) for name, value in least.items()}
    return dataclasses.replace(verifier, quality=dataclasses.replace(verifier.quality, **limits))


def test_a_photograph_beyond_a_limit_cannot_be_told(made, demo, tmp_path):
    path, verifier, _ = made
    good = sorted((demo / "test" / "images").iterdir())[0]
    strict = limited(verifier, short_side=40.0, sharpness=None, brightness=30.0)
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.resize(decode(good)[:, :, ::-1], (50, 31)))
    verdict = verify((good, small), strict, path=path, device=CPU, engine="torch")
    assert verdict.decision == "cannot tell"
    assert [(r.code, r.photograph, r.value, r.limit) for r in verdict.reasons] == [("short_side", str(small), 31, 40)]
    assert "too small (short side 31 px; below 40" in verdict.reasons[0].text
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), decode(good) // 8)
    verdict = verify((dark, small), strict, path=path, device=CPU, engine="torch")
    assert [reason.code for reason in verdict.reasons] == ["brightness", "short_side"]
    assert verdict.probability is None
    assert all(probability is None for *_, probability in verdict.members.values())
    assert draw(verdict, [decode(dark), decode(small)]).shape[1] == 1008


def test_a_photograph_with_itself_is_told_to_be_one(made, demo, tmp_path):
    path, verifier, _ = made
    one, other = sorted((demo / "test" / "images").iterdir())[:2]
    copy = shutil.copy(one, tmp_path / "copy.jpg")
    lenient = limited(verifier, short_side=None, sharpness=None, brightness=None)
    codes = [
        [reason.code for reason in verify(pair, lenient, path=path, device=CPU, engine="torch").reasons]
        for pair in ((one, copy), (one, other))
    ]
    assert codes[0][1:] == ["identical"]
    assert len(codes[1]) == 1


def test_whoever_asks_is_told_when_hardly_any_same_pair_is_recognised(made, demo):
    path, verifier, _ = made
    pair = sorted((demo / "test" / "images").iterdir())[:2]
    point = dataclasses.replace(verifier.points[-1], tmr=Score(0.02, 0.0, 0.1))
    weak = dataclasses.replace(verifier, points=(*verifier.points[:-1], point))
    assert "2 % of the same pairs are recognised" in verify(pair, weak, path=path, device=CPU, engine="torch").caution


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.99951, "above 0.999"), (0.0004, "below 0.001"), (0.9, "0.900"), (None, "no probability")],
)
def test_a_probability_is_told_no_finer_than_it_is_known(probability, words):
    assert probability_text(probability).endswith(words)


@pytest.mark.parametrize("shapes", [((2000, 30), (30, 2000)), ((1, 1), (600, 800))])
def test_the_picture_holds_photographs_of_any_shape(made, demo, tmp_path, shapes):
    path, verifier, _ = made
    places = []
    for number, shape in enumerate(shapes):
        places.append(tmp_path / f"{'é' * 50}{number}.png")
        cv2.imwrite(str(places[-1]), np.full((*shape, 3), (255, 0, 0), np.uint8))
    verdict = verify(tuple(places), verifier, path=path, device=CPU, engine="torch")
    picture = draw(verdict, [decode(place) for place in places])
    assert picture.shape[1] == 1008
    blue = (picture == (0, 0, 255)).all(axis=2)
    rows, _ = np.nonzero(blue)
    assert blue[:, :504].any()
    assert blue[:, 504:].any()
    assert rows.max() < 496
    assert (picture[500:] < 120).any()  # the words


def test_the_commands(made, demo, tmp_path):
    path, *_ = made
    root = shutil.copytree(path.parents[2], tmp_path / "root")
    written = root / "results" / "small" / "verifier.json"
    written.unlink()
    words = ("--small", "--root", root)
    done = noseprint("calibrate", *words, "--data", demo, "--members", "one", "two", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "ensemble" in done.stdout
    assert "caution: made from" in done.stdout
    assert json.loads(written.read_text())["format"] == FORMAT
    a, b = sorted((demo / "test" / "images").iterdir())[:2]
    picture = tmp_path / "both.png"
    done = noseprint("verify", a, b, *words, "--json", "--picture", picture, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {
        *("format", "noseprint", "photographs", "decision", "reasons", "similarity", "probability", "prior"),
        *("calibration", "fmr", "caution", "different_below", "same_from", "members"),
    }
    assert "held-out identities, which are few" in told["caution"]
    assert told["decision"] in ("same", "different", "cannot tell")
    assert decode(picture).shape[1] == 1008
    moved = shutil.move(root, tmp_path / "elsewhere")
    done = noseprint("verify", a, a, "--verifier", os.path.join(moved, "results/small/verifier.json"))  # noqa: PTH118
    assert done.returncode == 0, done.stderr
    before = written.with_name("x").parent, a.read_bytes()
    for options, says in (
        (("--picture", a), "give a file whose name ends in .png"),
        (("--fmr", "0.00001"), "do not support it"),
        (("--run", "other"), "no such verifier"),
    ):
        done = noseprint("verify", a, b, "--root", moved, *(() if "--run" in options else ("--small",)), *options)
        assert done.returncode == 1
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert a.read_bytes() == before[1]
    png = tmp_path / "a.png"
    cv2.imwrite(str(png), decode(a))
    kept = png.read_bytes()
    done = noseprint("verify", png, b, "--root", moved, "--small", "--picture", png)
    assert (done.returncode, png.read_bytes()) == (1, kept)
    assert "--picture" in done.stderr


@pytest.mark.parametrize(
    ("similarity", "fmr", "says"),
    [
        (0.9, 0.01, "of 1,000 different pairs of the hold-out (FEW) 4 were called the same"),
        (
            0.9,
            0.001,
            "of 10,000 different pairs of the hold-out (FEW) 43 were called the same",
        ),
        (0.6, 0.01, "of 1,000 same pairs of the hold-out (FEW) 844 were called the same"),
        (
            0.2,
            0.01,
            "of 1,000 same pairs of the hold-out (FEW) 10 at most were called different",
        ),
    ],
)
def test_a_person_is_told_the_answer_and_one_rate_in_words(made, demo, similarity, fmr, says):
    path, verifier, _ = made
    pair = sorted((demo / "test" / "images").iterdir())[:2]
    lenient = limited(verifier, short_side=None, sharpness=None, brightness=None)
    at = OperatingPoint(fmr, 0.7, Score(0.0043, 0.0007, 0.0098), Score(0.8436, 0.7, 0.9), 0.5)
    decision, reasons = decide(similarity, at, [])
    verdict = verify(pair, lenient, path=path, device=CPU, engine="torch")
    verdict = dataclasses.replace(verdict, point=at, decision=decision, reasons=reasons, probability=0.9)
    good = dataclasses.replace(verifier.reliability, log_loss=Score(0.1, 0.05, 0.2))
    many = dataclasses.replace(
        verifier,
        holdout=dataclasses.replace(verifier.holdout, identities=25),
        reliability=good,
        calibration=Platt(9.0, -6.0),
    )
    few = dataclasses.replace(many, holdout=dataclasses.replace(verifier.holdout, identities=8))
    sentence, rate, *more = verdict_lines(verdict, few)
    assert sentence == f"{decision}, probability 0.900: {reasons[0].text}"
    assert rate == says.replace("FEW", "8 individuals, which are few")
    assert [line.partition(":")[0] for line in more] == ["not checked"] * (decision == "same")
    assert "few" not in verdict_lines(verdict, many)[1]
    assert "at prior 0.1 (which" in verdict_lines(dataclasses.replace(verdict, prior=0.1), few)[0]
    guessing = dataclasses.replace(many, reliability=dataclasses.replace(good, log_loss=Score(0.69, 0.6, 0.8)))
    assert verdict_lines(verdict, guessing)[-1].startswith("caution: the probability tells nothing")


def test_a_refused_photograph_is_told_in_one_line(made, demo):
    path, verifier, _ = made
    pair = sorted((demo / "test" / "images").iterdir())[:2]
    strict = limited(verifier, short_side=10_000.0, sharpness=None, brightness=None)
    (line,) = verdict_lines(verify(pair, strict, path=path, device=CPU, engine="torch"), verifier)
    assert line.startswith(f"cannot tell: {pair[0]} is too small (short side")


def test_what_can_be_mended_in_a_moment_is_told_before_torch_is_loaded(made, demo, tmp_path):
    code = """
import sys
from noseprint.cli import main
try:
    main()
finally:
    print([name for name in ("torch", "openvino", "albumentations") if name in sys.modules])
"""
    path, *_ = made
    a, b = sorted((demo / "test" / "images").iterdir())[:2]
    other = tmp_path / "other.json"
    other.write_text("{}")
    (tmp_path / "empty.jpg").touch()
    for words, says in (
        ((a, b, "--small"), f"{tmp_path / 'results' / 'small' / 'verifier.json'}: no such verifier"),
        ((a, b), "--verifier FILE"),
        ((a, b, "--verifier", other), "no verifier (its format is not"),
        ((a, "gone.jpg", "--verifier", path), "gone.jpg: cannot be read (No such file"),
        ((tmp_path / "empty.jpg", b, "--verifier", path), "empty.jpg: is empty"),
        ((a, b, "--prior", "1"), "--prior 1: must lie between 0 and 1"),
        ((a, b, "--fmr", "0"), "--fmr 0: must lie between 0 and 1"),
        ((a, b, "--verifier", path, "--picture", tmp_path / "a.jpg"), "whose name ends in .png"),
    ):
        asked = [sys.executable, "-c", code, "verify", *map(str, words)]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "[]\n"), done.stderr
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_where_possible_tells_why_there_is_no_verifier(demo, tmp_path):
    write_weights(tmp_path / "one" / "results" / "best.safetensors", training='{"holdout": 0}')
    words = ("calibrate", "--root", tmp_path, "--data", demo, "--members", "one")
    done = noseprint(*words)
    assert (done.returncode, "trained on all identities" in done.stderr) == (1, True)
    done = noseprint(*words, "--where-possible")
    assert done.returncode == 0, done.stderr
    assert "No verifier is made" in done.stdout
    write_weights(tmp_path / "one" / "results" / "best.safetensors", held_out=mark_of(demo))
    done = noseprint("calibrate", "--root", tmp_path, "--data", demo / "test", "--members", "one", "--where-possible")
    assert (done.returncode, "has no training photographs" in done.stdout) == (0, True)
    assert not (tmp_path / "results").exists()
