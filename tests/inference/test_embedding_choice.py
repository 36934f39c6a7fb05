"""Which embedding is chosen, on made features; and that what is written is what was scored."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from noseprint.data.instances import InstanceTable
from noseprint.errors import NoseprintError
from noseprint.inference import embedding_sources
from noseprint.inference.embedding_choice import (
    Candidate,
    Choice,
    Judged,
    choose,
    find_candidates,
    groups,
    judge,
    mix,
)
from noseprint.inference.embedding_results import choice_lines, guard_lines, write_choice
from noseprint.inference.embedding_sources import Source, find_sources, keep_features, read_source
from noseprint.inference.gallery import read_gallery
from noseprint.inference.photograph_records import RECORD_BYTES
from noseprint.inference.reduction import pca_projection
from noseprint.metrics.instances import InstanceScores, score_instances
from noseprint.models import openvino_runtime
from noseprint.models.projection_net import ProjectionNet
from noseprint.models.weights import load_network
from noseprint.models.weights_header import read_header

EACH, DIM = 4, 4
PARTS = {"train": 16, "val": 6, "test": 12}
"""The identities of each part, half of them of each domain."""


def made_table(folder: Path = Path("made")) -> InstanceTable:
    rows = []
    for part, number in PARTS.items():
        for identity in range(number):
            for shot in range(EACH):
                role = "both" if part != "test" else "index" if shot else "query"
                name = f"{part}{identity}-{shot}.png"
                rows.append((folder / name, f"{part}{identity}", "pets" if identity % 2 else "toys", part, role, name))
    return InstanceTable(*(tuple(column) for column in zip(*rows, strict=True)))


def source(name: str, table: InstanceTable, *, size: int = 32, width: int = 12, seed: int = 0, **more) -> Source:
    """Made features: identities differ in 6 directions."""
    rng = np.random.default_rng(seed)
    centres = {one: rng.normal(size=6) for one in dict.fromkeys(table.identities)}
    rows = rng.normal(0, 0.4, (len(table), width))
    rows[:, :6] += [centres[one] for one in table.identities]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    records = np.zeros((len(table), RECORD_BYTES), np.uint8)
    return Source(name, Path(f"{name}.safetensors"), rows.astype(np.float32), size=size, records=records, **more)


@pytest.fixture(scope="module", autouse=True)
def torch_computes():
    """OpenVINO takes a second for each network, and may compute in bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_runtime, "is_installed", lambda: False)
        yield


@pytest.fixture
def table() -> InstanceTable:
    return made_table()


def mask(table: InstanceTable, *parts: str) -> np.ndarray:
    return np.isin(table.parts, parts)


def test_backbones_are_joined_by_their_size_and_whether_they_were_trained(table):
    def named(*names: tuple[str, int, bool]) -> list[str]:
        sources = [source(name, table, size=size, is_trained=trained) for name, size, trained in names]
        return [" ".join(one.name for one in group) for group in groups(sources)]

    assert named(("a", 32, False)) == ["a"]
    assert named(("a", 32, False), ("b", 32, False)) == ["a", "b", "a b"]
    assert named(("a", 32, False), ("b", 48, False)) == ["a", "b"]
    both = named(("a", 32, False), ("b", 32, False), ("c", 32, True), ("d", 32, True), ("e", 48, True))
    assert both == ["a", "b", "c", "d", "e", "a b", "c d", "a b c d"]


def test_every_projection_of_every_group_is_a_candidate(table):
    head = torch.randn(DIM, 12), torch.zeros(DIM)
    sources = [source("a", table, head=head), source("b", table, seed=1, head=head)]
    found = list(find_candidates(sources, table, dim=DIM))
    kinds = ["all 12 dimensions", "random projection", "PCA", "whitened PCA", "learned whitening", "head"]
    joined = ["all 24 dimensions", *kinds[1:5], "PCA of the heads"]
    assert [one.name for one in found] == [
        *(f"{name}: {kind}" for name in "ab" for kind in kinds),
        *(f"a + b: {kind}" for kind in joined),
    ]
    assert {one.name for one in found if not one.eligible} == {
        one.name for one in found if one.name.endswith(("dimensions", "random projection"))
    }
    for one in found:
        rows = one.embeddings(mask(table, "train"))
        assert rows.shape[1] == (DIM if one.fit else sum(source.features.shape[1] for source in one.sources))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_a_backbone_with_as_few_features_as_dimensions_has_nothing_to_reduce(table):
    found = list(find_candidates([source("a", table, width=8)], table, dim=8))
    assert [one.name for one in found] == ["a: all 8 dimensions"]
    with pytest.raises(NoseprintError, match=r"no backbone has more than 8 features, .*: lower --dim"):
        choose([judge(one, table) for one in found], table, dim=8, take="best")


def test_the_test_never_fits_a_projection_and_the_hold_out_only_that_of_the_test(table):
    given = []

    def fit(rows):
        given.append(rows)
        return pca_projection(one.features[rows], DIM, whiten=False)

    one = source("a", table)
    found = judge(Candidate("a: mine", (one,), fit), table)
    assert [list(rows) for rows in given] == [list(mask(table, "train")), list(mask(table, "train", "val"))]

    def scores(fitted_to: np.ndarray, queries: np.ndarray, index: np.ndarray) -> InstanceScores:
        weight, bias = (part.numpy() for part in pca_projection(one.features[fitted_to], DIM, whiten=False))
        rows = one.features @ weight.T + bias
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return score_instances(rows, identities=table.identities, domains=table.domains, queries=queries, index=index)

    val, test, query = mask(table, "val"), mask(table, "test"), np.array(table.is_query)
    held_out = scores(mask(table, "train"), val, mask(table, "train", "val"))
    np.testing.assert_allclose(found.held_out.average_precision, held_out.average_precision)
    tested = scores(mask(table, "train", "val"), test & query, test & ~query)
    np.testing.assert_allclose(found.scores.average_precision, tested.average_precision)
    assert len(found.scores.query) == PARTS["test"]
    assert found.value == pytest.approx(
        np.mean([held_out.average_precision[held_out.domains == name].mean() for name in ("pets", "toys")])
    )


def test_without_a_test_the_scores_are_those_of_the_hold_out(table):
    learned = table.where(part != "test" for part in table.parts)
    found = [judge(one, learned) for one in find_candidates([source("a", learned)], learned, dim=DIM)]
    assert all(one.scores is one.held_out for one in found)
    chosen = choose(found, learned, dim=DIM, take="best")
    assert not chosen.on_test
    assert "hold-out, which also chose" in next(iter(choice_lines(chosen)))


def judged(candidate: Candidate, table: InstanceTable, *, value: float, average: Sequence[float]) -> Judged:
    """A candidate with this score on the hold-out, and these average precisions in the test: of pets, of toys."""
    rows = np.flatnonzero(mask(table, "test") & np.array(table.is_query))
    domains, identities = np.array(table.domains)[rows], np.array(table.identities)[rows]
    values = np.where(domains == "pets", average[0], average[1])
    scores = InstanceScores(rows, values, values, domains, identities, 0)
    return Judged(candidate, replace(scores, average_precision=np.full(len(rows), value)), scores)


def pca(*sources: Source, name: str = "") -> Candidate:
    features = np.concatenate([one.features for one in sources], axis=1)
    return Candidate(
        f"{name or sources[0].name}: PCA", sources, lambda rows: pca_projection(features[rows], DIM, whiten=False)
    )


def test_the_best_on_the_hold_out_is_taken_and_of_equal_ones_the_simplest(table):
    a, b = source("a", table), source("b", table, seed=1, is_trained=True)
    frozen = judged(pca(a), table, value=0.5, average=(0.9, 0.9))
    both = judged(pca(a, b, name="a + b"), table, value=0.7, average=(0.1, 0.1))
    one = judged(pca(b), table, value=0.7, average=(0.2, 0.2))
    again = judged(pca(b, name="again"), table, value=0.7, average=(1.0, 1.0))  # no score of the test chooses
    barred = judged(replace(pca(b), eligible=False), table, value=0.9, average=(1.0, 1.0))
    chosen = choose([frozen, both, one, again, barred], table, dim=DIM, take="best")
    assert chosen.taken is one
    assert chosen.frozen is frozen
    assert choose([frozen, one], table, dim=DIM, take="frozen").taken is frozen
    mixed = choose([frozen, one], table, dim=DIM, take="mixture")
    assert mixed.taken.candidate.name == "mixture of b: PCA and a: PCA"
    assert mixed.taken is mixed.judged[-1]


def test_a_mixture_is_of_backbones_of_one_size(table):
    """The best backbone sees larger images than the frozen one: the next best is mixed."""
    a, large = source("a", table), source("large", table, size=48, is_trained=True)
    whitened = replace(pca(a), name="a: whitened PCA")
    scored = [judged(one, table, value=value, average=(1, 1)) for one, value in ((pca(a), 0.5), (whitened, 0.6))]
    best = judged(pca(large), table, value=0.9, average=(1, 1))
    chosen = choose([*scored, best], table, dim=DIM, take="mixture")
    assert chosen.taken.candidate.name == "mixture of a: whitened PCA and a: PCA"
    assert choose([*scored, best], table, dim=DIM, take="best").taken is best


@pytest.mark.parametrize(("dim", "frozen_share"), [(2, 1), (3, 1), (4, 1), (8, 2)])
def test_a_quarter_of_a_mixture_is_the_frozen_one(table, dim, frozen_share):
    a, b = source("a", table), source("b", table, seed=1, is_trained=True)
    found = {one.name: one for one in find_candidates([a, b], table, dim=dim)}
    best, frozen = found["b: learned whitening"], found["a: PCA"]
    weight, _ = mix(best, frozen, dim=dim).fit(mask(table, "train"))
    assert weight.shape == (dim, 24)
    of_a, of_b = ((half == 0).all(dim=1).sum() for half in weight.split(12, dim=1))  # the features of b come first
    assert (of_a, of_b) == (frozen_share, dim - frozen_share)


def test_the_guard_says_where_training_lost(table):
    a, b = source("a", table), source("b", table, seed=1, is_trained=True)
    frozen = judged(pca(a), table, value=0.5, average=(0.9, 0.5))
    trained = judged(pca(b), table, value=0.7, average=(0.6, 0.8))
    chosen = choose([frozen, trained], table, dim=DIM, take="best")
    assert list(chosen.lost) == ["pets"]
    (line,) = guard_lines(chosen)
    assert "in pets by 0.300 [0.300, 0.300]. " in line
    assert "--take mixture" in line
    assert line in list(choice_lines(chosen))
    assert guard_lines(choose([frozen, trained], table, dim=DIM, take="frozen")) == []


def test_a_loss_within_the_interval_is_no_warning(table):
    a, b = source("a", table), source("b", table, seed=1, is_trained=True)
    frozen, trained = (judged(pca(one), table, value=0.5, average=(0.8, 0.8)) for one in (a, b))
    values = frozen.scores.average_precision + np.tile([-0.3, 0, 0.1, 0, 0.1, 0], 2)
    trained = replace(trained, scores=replace(trained.scores, average_precision=values), held_out=frozen.held_out)
    chosen = choose([frozen, trained], table, dim=DIM, take="best")
    forced = Choice(chosen.judged, trained, frozen, on_test=True)
    assert guard_lines(forced) == []
    assert chosen.lost == {}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> InstanceTable:
    folder = tmp_path_factory.mktemp("photographs")
    table = made_table(folder)
    for path, identity in zip(table.paths, table.identities, strict=True):
        rng, own = np.random.default_rng(list(path.name.encode())), np.random.default_rng(list(identity.encode()))
        pixels = own.integers(0, 256, 3) + rng.normal(0, 20, (32, 32, 3))
        cv2.imwrite(str(path), np.clip(pixels, 0, 255).astype(np.uint8))
    return table


@pytest.fixture(scope="module")
def kept(photographs, tmp_path_factory) -> Path:
    """results of frozen/ for two backbones: read them, never write into them."""
    folder = tmp_path_factory.mktemp("family") / "frozen" / "results" / "one"
    for seed, part in enumerate(("first", "second")):
        torch.manual_seed(seed)
        network = ProjectionNet("test_efficientnet.r160_in1k", dim=None, image_size=32, pretrained=False)
        keep_features(
            network,
            folder / part,
            data=photographs.paths[0].parent,
            names=photographs.names,
            device=torch.device("cpu"),
        )
    return folder


def read(name: str, kept: Path, table: InstanceTable) -> Source:
    return read_source(name, kept / name, table, data=table.paths[0].parent)


def compute(network, table: InstanceTable) -> np.ndarray:
    """What the network itself makes of the images."""
    images = np.stack([cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1) for path in table.paths])
    with torch.inference_mode():
        return network.eval().embed(torch.from_numpy(np.ascontiguousarray(images))).numpy()


def test_the_features_of_two_backbones_are_found(kept, photographs):
    found = list(
        find_sources(
            kept.parents[2],
            photographs,
            run="one",
            parts=("first", "second"),
            stages=(),
            data=photographs.paths[0].parent,
            device=torch.device("cpu"),
        )
    )
    assert [one.name for one in found] == ["frozen first", "frozen second"]
    assert [one.features.shape for one in found] == [(len(photographs), 256)] * 2
    assert not any(one.is_trained or one.head for one in found)


@pytest.mark.parametrize("take", ["best", "mixture"])
def test_what_is_written_gives_the_embeddings_that_were_scored(kept, photographs, tmp_path, take):
    """Of photographs, by a network with two backbones, and by the rows beside it."""
    sources = [read(name, kept, photographs) for name in ("first", "second")]
    found = [judge(one, photographs) for one in find_candidates(sources, photographs, dim=DIM)]
    chosen = choose(found, photographs, dim=DIM, take=take)
    if take == "best":  # whichever is: one of both backbones
        both = [one for one in found if one.candidate.name.endswith("second: learned whitening")]
        chosen = replace(chosen, taken=both[-1])
        assert len(chosen.taken.candidate.sources) == 2
    write_choice(tmp_path, chosen, photographs, data=photographs.paths[0].parent)
    gallery, weights = read_gallery(tmp_path / "embeddings.safetensors"), tmp_path / "best.safetensors"
    network = load_network(weights)
    assert network.embedding_size == DIM
    assert gallery.matrix.dtype == np.float32
    np.testing.assert_allclose(gallery.rows_of(photographs.names), compute(network, photographs), atol=1e-4)
    fitted = chosen.taken.candidate.embeddings(mask(photographs, "train", "val"))
    np.testing.assert_array_equal(gallery.matrix, fitted)
    about = json.loads((tmp_path / "choice.json").read_text())
    assert about["taken"] == chosen.taken.candidate.name
    assert about["on_test"]
    header = read_header(weights)
    assert header.extra["recipe"] == "universal_embedding"
    assert header.holdout_scores["map"] == pytest.approx(chosen.taken.value)
    with (tmp_path / "scores.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["step"] == about["taken"]]
    assert {(row["domain"], row["metric"]) for row in rows} == {
        (domain, metric) for domain in ("pets", "toys", "mean of domains") for metric in ("mP@5", "mAP", "held-out mAP")
    }


def test_kept_features_are_read_again_unless_something_changed(kept, photographs, tmp_path, monkeypatch):
    network = ProjectionNet("test_efficientnet.r160_in1k", dim=None, image_size=32, pretrained=False)
    table = photographs.where(part == "val" for part in photographs.parts)
    for path in table.paths:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    runs = []
    right = embedding_sources.embed_gallery
    monkeypatch.setattr(embedding_sources, "embed_gallery", lambda *a, **k: runs.append(1) or right(*a, **k))

    def keep(names=table.names, net=network):
        return keep_features(net, tmp_path / "out", data=tmp_path, names=names, device=torch.device("cpu"))

    first = keep()
    np.testing.assert_allclose(first.rows_of(table.names), compute(network, table), atol=1e-5)
    before = (tmp_path / "out" / "features.safetensors").read_bytes()
    np.testing.assert_array_equal(keep().matrix, first.matrix)
    assert len(runs) == 1
    (tmp_path / table.names[0]).write_bytes((tmp_path / table.names[1]).read_bytes())  # another photograph
    moved = replace(table, paths=tuple(tmp_path / name for name in table.names))
    with pytest.raises(NoseprintError, match=r"1 photographs have changed since .*: run train.sh again without --from"):
        read_source("a", tmp_path / "out", moved, data=tmp_path)
    np.testing.assert_array_equal(*keep().rows_of(table.names[:2]))
    assert len(runs) == 2
    keep(names=table.names[1:])
    assert len(runs) == 3
    with pytest.raises(NoseprintError, match="1 photographs are not embedded"):
        read_source("a", tmp_path / "out", moved, data=tmp_path)
    (tmp_path / "out" / "features.safetensors").write_bytes(before[:1000])  # cut short
    keep()
    assert len(runs) == 4
    other = ProjectionNet("test_efficientnet.r160_in1k", dim=None, image_size=32, pretrained=False)
    old = (tmp_path / "out" / "features.safetensors").read_bytes()
    keep(net=other)
    assert len(runs) == 5
    (tmp_path / "out" / "features.safetensors").write_bytes(old)  # of the backbone before
    with pytest.raises(NoseprintError, match=r"these features are not of .*backbone.safetensors: delete both"):
        read_source("a", tmp_path / "out", moved, data=tmp_path)
    (tmp_path / table.names[0]).unlink()
    keep(names=table.names[1:])
    with pytest.raises(NoseprintError, match=r"features\.safetensors is missing: run frozen/embed\.py --part none"):
        read_source("a", tmp_path / "none", moved, data=tmp_path)
