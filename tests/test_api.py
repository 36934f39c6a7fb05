import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import noseprint
from noseprint.data.demo import write_demo
from noseprint.data.tables import read_train
from noseprint.metrics.similarity import row_similarities

PAGE = Path(__file__).parents[1] / "docs" / "python_api.md"
TINY = {"backbone": "test_efficientnet.r160_in1k", "pretrained": False, "image_size": 32, "train_size": 32}
tiny_train = partial(noseprint.train, **TINY, epochs=1, batch_size=16, workers=0, holdout=0.3, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that holds `photos`, with a folder of photographs for each of 32 drawn individuals."""
    folder = tmp_path_factory.mktemp("api")
    write_demo(folder / "drawn", train_identities=32, pair_identities=2)
    table = read_train(folder / "drawn")
    for path, identity in zip(table.paths, table.identities, strict=True):
        target = folder / "photos" / identity / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def test_importing_noseprint_loads_only_the_standard_library():
    code = "import sys, noseprint; assert not {'torch', 'numpy', 'noseprint.api'} & set(sys.modules); noseprint.check"
    code += (
        "; assert 'torch' not in sys.modules; assert set(noseprint.__all__) <= set(dir(noseprint)); noseprint.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("module 'noseprint' has no attribute 'nothing'")


def test_every_public_name_is_explained_on_the_page():
    text = PAGE.read_text()
    for name in noseprint.__all__:
        assert getattr(noseprint, name).__doc__
        assert f"[`{name}`]" in text


def test_a_folder_of_unknown_individuals_is_no_individual(folder, tmp_path, write_weights):
    photos = shutil.copytree(folder / "photos" / "1", tmp_path / "photos" / "1").parent
    shutil.copytree(folder / "photos" / "2", photos / "unknown")
    gallery = noseprint.Gallery.enrol(photos, write_weights(tmp_path / "w.safetensors"), device="cpu")
    assert set(gallery.identities.values()) == {"1"}
    names = gallery.embeddings.names
    gallery.save(tmp_path / "g.safetensors")
    given = dict(zip(names, ["rex", "NaN", *["?"] * len(names)], strict=False))
    loaded = noseprint.Gallery.load(tmp_path / "g.safetensors", identities=given)
    assert loaded.identities == {names[0]: "rex"}


def test_broken_photographs_are_left_out_on_request(folder, tmp_path, write_weights):
    weights = write_weights(tmp_path / "w.safetensors")
    first, second = sorted((folder / "photos").iterdir())[:2]
    for individual in (first, second):
        shutil.copytree(individual, tmp_path / "photos" / individual.name)
    broken = sorted((tmp_path / "photos" / first.name).iterdir())[0]
    broken.write_bytes(b"")
    with pytest.raises(noseprint.NoseprintError, match=r"1 of \d+ photographs cannot be read"):
        noseprint.Gallery.enrol(tmp_path / "photos", weights, device="cpu")
    gallery = noseprint.Gallery.enrol(tmp_path / "photos", weights, device="cpu", skip_bad=True)
    assert f"{first.name}/{broken.name}" not in gallery.identities
    matches = gallery.search(tmp_path / "photos" / first.name, top=1, device="cpu", skip_bad=True)
    assert {match.query for match in matches} == {path.name for path in first.iterdir()} - {broken.name}
    assert {match.identity for match in matches} == {first.name}


def test_the_code_of_the_page_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(noseprint, "train", tiny_train)
    monkeypatch.setattr(noseprint, "write_demo", lambda path: shutil.copytree(folder / "drawn", path))
    variables = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        exec(block, variables)
    network, embeddings = variables["network"], variables["embeddings"]
    assert embeddings.shape == (2, network.embedding_size)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    similarity = row_similarities(embeddings, np.array([0]), np.array([1]))[0]
    assert variables["verdict"].similarity == pytest.approx(similarity, abs=1e-3)
    matches = variables["matches"]
    assert [match.similarity for match in matches] == sorted((match.similarity for match in matches), reverse=True)
    assert matches[0].similarity == pytest.approx(1, abs=1e-3)  # the query is in the gallery
    assert matches[0].image.startswith(f"{matches[0].identity}/")
