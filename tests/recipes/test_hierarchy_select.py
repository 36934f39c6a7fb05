"""Select and predict of product_hierarchy, run on tiny networks that know three colours more or less well."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from noseprint.data.class_tables import read_classes
from noseprint.data.csv_rows import write_csv
from noseprint.data.holdout import content_hashes
from noseprint.data.transforms import A
from noseprint.errors import DataError, NoseprintError
from noseprint.inference import selection as selecting
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import save_weights

FAMILY = Path(__file__).parents[2] / "recipes" / "product_hierarchy"
COLOURS = {"blue": (20, 20, 220), "green": (20, 220, 20), "red": (220, 20, 20), "wine": (140, 20, 40)}
PARENTS = {"blue": "cold", "green": "cold", "red": "warm", "wine": "warm"}


def script(family: Path, name: str, monkeypatch):
    """A script of the family, with its own folder first on the path, as when it is started."""
    monkeypatch.syspath_prepend(str((family / name).parent))
    monkeypatch.delitem(sys.modules, "dataset", raising=False)
    spec = importlib.util.spec_from_file_location(Path(name).stem, family / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def colour_network(noise: float, seed: int) -> ClassifierNet:
    """A network that knows the colours; the more noise in its head, the worse."""
    torch.manual_seed(0)
    network = ClassifierNet(
        "test_efficientnet.r160_in1k", heads={"label": sorted(COLOURS)}, image_size=32, pretrained=False
    ).eval()
    middle = A.Compose([A.SmallestMaxSize(32), A.CenterCrop(32, 32)])
    plain = [middle(image=np.full((40, 40, 3), COLOURS[name], np.uint8))["image"] for name in sorted(COLOURS)]
    with torch.no_grad():
        features = network.features(torch.tensor(np.stack(plain)).permute(0, 3, 1, 2))
        weight = torch.linalg.pinv(features - features.mean(0)).T * 5
        weight += noise * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        network.heads[0].weight.copy_(weight)
        network.heads[0].bias.copy_(-weight @ features.mean(0))
    return network


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A family with data, and two members with snapshots: select has not run."""
    root, rng = tmp_path_factory.mktemp("trained"), np.random.default_rng(0)
    family, data = root / "family", root / "data"
    shutil.copytree(FAMILY, family, ignore=shutil.ignore_patterns("results", "data", "__pycache__"))
    for split, number in (("train", 8), ("val", 40), ("test", 12)):
        for at in range(number):
            name = sorted(COLOURS)[at % 4]
            path = data / split / name / f"{split}{at}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(-90, 90, (int(rng.integers(33, 60)), int(rng.integers(33, 60)), 3))
            cv2.imwrite(str(path), np.clip(COLOURS[name] + noise, 0, 255)[..., ::-1].astype(np.uint8))
    write_csv(data / "tree.csv", ("class", "warmth"), PARENTS.items())
    table = read_classes(data)
    rows = zip(table.names, table.labels, table.splits, strict=True)
    write_csv(family / "filter/results/small/images.csv", ("image", "label", "split"), rows)
    extra = {"training": '{"holdout": 0.1}', "trained_images": "".join(content_hashes(table.split("train").paths))}
    for member, noises in (("lite0", (0.2, 0.6, 3.0)), ("lite1", (0.3, 0.5))):
        folder = family / "members/results/small" / member
        save_weights(folder / "best.safetensors", colour_network(noises[0], 7), extra=extra)
        for number, noise in enumerate(noises, 1):
            save_weights(folder / f"snapshots/{number}.safetensors", colour_network(noise, number), extra={})
    return family


def choose(family: Path, monkeypatch, **changes) -> selecting.Selection:
    module = script(family, "select/choose.py", monkeypatch)
    options = replace(module.SMALL, data=family.parent / "data", members="lite0,lite1", device="cpu", workers=0)
    module.main(replace(options, **changes))
    return selecting.read_selection(family, "small")


def answer(family: Path, monkeypatch, **changes) -> None:
    module = script(family, "predict/answer.py", monkeypatch)
    module.main(replace(module.SMALL, data=family.parent / "data", device="cpu", workers=0, **changes))


@pytest.fixture(scope="module")
def selected(trained) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        choose(trained, patch)
    return trained


@pytest.fixture
def family(selected, tmp_path) -> Path:
    """A family of its own in which select has run."""
    shutil.copytree(selected.parent, tmp_path / "copy")
    return tmp_path / "copy" / "family"


def rows_of(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()]


def test_candidates_are_scored_and_the_best_answer_together(selected):
    found = selecting.read_selection(selected, "small")
    names = [one.name for one in found.candidates]
    assert names[:6] == ["lite0/best", "lite0/snapshot 1", "lite0/snapshot 2", "lite0/snapshot 3", "lite0/uniform soup",
                         "lite0/greedy soup"]  # fmt: skip
    assert len(names) == 11
    top_1 = {one.name: one.top_1 for one in found.candidates}
    assert found.top_1.value >= max(top_1.values())
    assert top_1["lite0/greedy soup"] >= max(value for name, value in top_1.items() if name.startswith("lite0/snap"))
    assert top_1["lite0/snapshot 3"] < 1
    assert [one.weight for one in found.networks] == [one.joined for one in found.candidates if one.joined]
    assert "is the best alone" in found.lines[1]
    assert found.levels == {"warmth": ("cold", "cold", "warm", "warm")}


def test_a_second_run_computes_nothing_again_and_writes_the_same(family, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed again")

    before = (family / "results/small/selection.json").read_bytes()
    monkeypatch.setattr("noseprint.inference.cached_outputs.classify_photographs", refuse)
    monkeypatch.setattr(selecting, "classify_photographs", refuse)
    monkeypatch.setattr(selecting, "average_weights", refuse)
    choose(family, monkeypatch)
    assert (family / "results/small/selection.json").read_bytes() == before


def test_only_a_new_snapshot_is_computed(family, monkeypatch):
    computed = []

    def count(weights, *rest, **options):
        computed.append(Path(weights).name)
        return compute(weights, *rest, **options)

    compute = selecting.cached_outputs.__globals__["classify_photographs"]
    monkeypatch.setattr("noseprint.inference.cached_outputs.classify_photographs", count)
    path = family / "members/results/small/lite1/snapshots/3.safetensors"
    save_weights(path, colour_network(0.4, 9), extra={})
    choose(family, monkeypatch)
    assert sorted(computed) == ["3.safetensors", "lite1-greedy.safetensors", "lite1-uniform.safetensors"]
    assert len(list((family / "select/results/small/outputs").iterdir())) == 12  # those of the old soups are removed


def test_a_selection_that_does_not_fit_the_weights_is_refused(family):
    network = selecting.read_selection(family, "small").networks[0]
    save_weights(family / network.file, colour_network(1.0, 5), extra={})
    with pytest.raises(NoseprintError, match=r"these are not the weights that .* chose"):
        selecting.read_selection(family, "small")
    (family / network.file).unlink()
    with pytest.raises(NoseprintError, match=r"is missing, and .* names it"):
        selecting.read_selection(family, "small")
    (family / "results/small/selection.json").write_text("{}")
    with pytest.raises(NoseprintError, match="is not the selection of a run") as error:
        selecting.read_selection(family, "small")
    assert str(error.value).endswith("Delete it, then run train.sh with the same options")
    assert "\n" not in str(error.value)
    assert "http" not in str(error.value)
    (family / "results/small/selection.json").unlink()
    with pytest.raises(NoseprintError, match="is missing: run train"):
        selecting.read_selection(family, "small")


def test_weights_that_learned_from_the_hold_out_are_refused(family, monkeypatch):
    data = family.parent / "data"
    shutil.copyfile(data / "train/blue/train0.png", data / "val/blue/val0.png")
    with pytest.raises(NoseprintError, match="learned from 1 of the 40 images"):
        choose(family, monkeypatch)


def test_members_that_are_missing_or_held_out_other_shares_are_refused(family, monkeypatch):
    with pytest.raises(NoseprintError, match=r"lite2/best.safetensors is missing: train lite2 first"):
        choose(family, monkeypatch, members="lite0,lite2")
    save_weights(
        family / "members/results/small/lite1/best.safetensors",
        colour_network(0.1, 1),
        extra={"training": '{"holdout": 0.2}'},
    )
    with pytest.raises(NoseprintError, match="held out different shares"):
        choose(family, monkeypatch)


def test_the_test_images_are_answered(family, monkeypatch, capsys):
    (family.parent / "data/test/blue/test0.png").write_bytes(b"broken")
    answer(family, monkeypatch)
    assert "Right: " in capsys.readouterr().out
    results = family / "results/small"
    rows = rows_of(results / "prediction.csv")
    assert rows[0] == ["image", "label", "probability", "answer", "level"]
    assert len(rows) == 12
    assert {row[4] for row in rows[1:]} <= {"class", "warmth", "root"}
    assert np.mean([row[1] in row[0] for row in rows[1:]]) > 0.8
    submission = rows_of(results / "submission.csv")
    assert submission[0] == ["id", "predicted"]
    assert all(len(row[1].split()) == 3 for row in submission[1:])
    assert {row[0]: row[1].split()[0] for row in submission[1:]} == {Path(row[0]).stem: row[1] for row in rows[1:]}
    assert "test0.png" in (results / "prediction.skipped.csv").read_text()


def test_a_level_has_the_probabilities_of_its_classes_together(family, monkeypatch):
    answer(family, monkeypatch, level="warmth", tta=True, decide="least-risk")
    rows = rows_of(family / "results/small/prediction.csv")[1:]
    assert {row[1] for row in rows} == {"cold", "warm"}
    assert all(float(row[2]) >= 0.5 for row in rows)
    with pytest.raises(NoseprintError, match="there is no level 'aisle': choose class or warmth"):
        answer(family, monkeypatch, level="aisle")


def test_a_tree_that_has_changed_since_the_selection_is_noticed(family, monkeypatch, capsys):
    data, photographs = family.parent / "data", {"images": family.parent / "data/test/red"}
    answer(family, monkeypatch, **photographs, out=family.parent / "own.csv")
    assert "not the tree" not in capsys.readouterr().out
    with (data / "tree.csv").open("a") as file:
        file.write("pink,warm\n")
    note = f"{data}/tree.csv is not the tree with which the networks were chosen."
    answer(family, monkeypatch, **photographs, out=family.parent / "own.csv")
    assert note in capsys.readouterr().out
    choose(family, monkeypatch)
    answer(family, monkeypatch, **photographs, out=family.parent / "own.csv")
    assert "not the tree" not in capsys.readouterr().out
    other = (data / "tree.csv").rename(family.parent / "other.csv")  # as of --tree
    choose(family, monkeypatch, tree=other)
    other.write_text(other.read_text().replace("pink", "rose"))
    answer(family, monkeypatch, **photographs, out=family.parent / "own.csv")
    assert f"{other} is not the tree" in capsys.readouterr().out


def test_the_submission_has_the_ids_of_the_sample(family, monkeypatch):
    sample = family.parent / "sample.csv"
    ids = [f"test{at}" for at in range(11, -1, -1)]
    write_csv(sample, ("id", "predicted"), [(one, "") for one in ids])
    answer(family, monkeypatch, sample=sample, top=2)
    rows = rows_of(family / "results/small/submission.csv")[1:]
    assert [row[0] for row in rows] == ids
    assert {len(row[1].split()) for row in rows} == {2}
    write_csv(sample, ("id", "predicted"), [(one, "") for one in [*ids[:-1], "other"]])
    with pytest.raises(DataError, match=r"1 of 12 ids have no answer \(other\).*and 1 more"):
        answer(family, monkeypatch, sample=sample)


def test_photographs_in_a_folder_are_answered_by_the_chosen_networks_only(family, monkeypatch, tmp_path, capsys):
    (family.parent / "data/test/red/offer.pdf").write_text("not a photograph")
    chosen = {one.file for one in selecting.read_selection(family, "small").networks}
    for path in (family / "members").rglob("*.safetensors"):
        if path.relative_to(family).as_posix() not in chosen:
            path.unlink()
    answer(family, monkeypatch, images=family.parent / "data/test/red", out=tmp_path / "own.csv")
    assert len(rows_of(tmp_path / "own.csv")) == 4
    assert (
        "1 of 4 files are left out, because noseprint does not read them: 1 .pdf (offer.pdf)" in capsys.readouterr().err
    )
    assert not (tmp_path / "submission.csv").exists()


def test_the_report_shows_the_tree_with_its_errors(family, monkeypatch, capsys):
    make = script(family, "report/make.py", monkeypatch)
    options = replace(make.SMALL, data=family.parent / "data")
    make.main(options)
    assert "The test images are not classified yet: run predict.sh." in capsys.readouterr().out
    answer(family, monkeypatch)
    make.main(options)
    assert "The test: 12 images." in capsys.readouterr().out
    page = (family / "results/small/report.html").read_text()
    assert "<strong>warm</strong> <small>6 images: " in page
    assert "lite0/greedy soup" in page
    scores = json.loads((family / "results/small/scores.json").read_text())
    assert scores["scored"] == "test"
    assert scores["likeliest"]["top"]["1"]["value"] > 0.8


def test_the_folders_see_images_alike():
    folders = ("members", "select", "predict")
    transforms = set()
    for folder in folders:
        spec = importlib.util.spec_from_file_location("dataset", FAMILY / folder / "dataset.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        transforms.add(repr(module.evaluation_transform(224)))
    assert len(transforms) == 1


def test_a_greedy_soup_keeps_what_does_not_make_it_worse(tmp_path, monkeypatch):
    """By hand: 1 is best; with 3, fewer are right; with 2, as many."""
    right = {("1",): 8, ("2",): 6, ("3",): 7, ("1", "3"): 7, ("1", "2"): 8}
    files = [tmp_path / f"{name}.safetensors" for name in "123"]
    for number, file in enumerate(files):
        save_weights(file, colour_network(0.1, number), extra={})
    averaged, said = [], []

    def average(network, kept):
        averaged.append(tuple(file.stem for file in kept))

    monkeypatch.setattr(selecting, "average_weights", average)
    monkeypatch.setattr(selecting, "_classify", lambda *_: averaged[-1])
    monkeypatch.setattr(selecting, "_accuracy", lambda outputs, _: right[outputs])

    class HeldOut:
        name = "images"
        images = type("Table", (), {"labels": ()})

        def logits(self, file, _):
            return (file.stem,)

        def say(self, name):
            said.append(name)

    selecting._make_soup(
        tmp_path / "soup.safetensors", {f"snapshot {file.stem}": file for file in files}, HeldOut(), greedy="greedy"
    )
    assert averaged == [("1", "3"), ("1", "2"), ("1", "2")]
    assert said == ["greedy, with snapshot 3", "greedy, with snapshot 2"]


def test_of_equal_ensembles_the_smaller_is_kept(family, monkeypatch):
    results = family / "members/results/small"
    shutil.rmtree(results / "lite1")
    shutil.rmtree(results / "lite0/snapshots")
    shutil.copytree(results / "lite0", results / "lite1")  # a twin brings nothing
    found = choose(family, monkeypatch)
    assert [(one.name, one.weight) for one in found.networks] == [("lite0/best", 1)]
