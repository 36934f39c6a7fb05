"""What a folder's levels mean, and which box belongs to which photograph."""

import json

import cv2
import numpy as np
import pytest

from noseprint.errors import DataError, NoseprintError
from noseprint.importing.boxes import Box, BoxOptions
from noseprint.importing.sources import read_source

DOGS = tuple(f"dog{k}" for k in range(12))


@pytest.fixture
def folder(tmp_path):
    """Makes two empty files in each folder: only their names are looked at."""

    def make(*folders, files=("1.jpg", "2.jpg")):
        for name in folders:
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            for file in files:
                (tmp_path / "photos" / name / file).touch()
        return tmp_path / "photos"

    return make


def identities(source):
    return sorted({photograph.identity for photograph in source.photographs})


def test_folders_of_splits_are_looked_through_and_equal_names_are_one_individual(folder):
    photos = folder(*(f"train/{dog}" for dog in DOGS[:8]), *(f"Val/{dog}" for dog in DOGS[6:]))
    (photos / "train" / "labels.csv").touch()  # not a photograph, so the folder holds only folders
    source = read_source(photos)
    assert identities(source) == sorted(DOGS)
    assert len(source.photographs) == 2 * (8 + 6)
    assert "12 individuals, whose folders are on level 2 (such as Val/dog10); equal names are one" in source.description
    assert [fault.file.name for fault in source.faults] == ["labels.csv"]


def test_a_single_folder_of_folders_is_looked_through(folder):
    source = read_source(
        folder(*(f"export/images/train/{dog}" for dog in DOGS), *(f"export/images/test/{dog}" for dog in DOGS))
    )
    assert identities(source) == sorted(DOGS)
    assert "on level 4 (such as export/images/test/dog0)" in source.description


@pytest.mark.parametrize(
    "folders",
    [
        ("rex", "luna"),
        ("rex/park", "rex", "luna"),
        ("rex/2024-05-01", "rex/2024-06-02", "luna/2024-05-01"),
        ("rex/day 1", "rex/day 2", "luna/day1"),
        ("rex/left", "rex/right", "luna/left"),
        ("rex/images", "luna/images"),
        ("rex/park", "luna/beach"),
        ("luna", "rex/2024-05-01", "rex/2024-06-02"),
    ],
)
def test_the_first_level_names_the_individuals_in_other_layouts(folder, folders):
    source = read_source(folder(*folders))
    assert identities(source) == ["luna", "rex"]
    assert source.description == "each folder in it is an individual"


def test_two_levels_of_folders_that_may_both_be_individuals_are_asked_about(folder):
    photos = folder("cat/1", "cat/2", "dog/1", "dog/2")
    with pytest.raises(NoseprintError) as error:
        read_source(photos)
    assert "its 2 folders (cat, dog) hold only folders (1, 2). Which are the individuals?" in str(error.value)
    for option, expected in {
        "individual": ["cat", "dog"],
        "group/individual": ["cat/1", "cat/2", "dog/1", "dog/2"],
        "split/individual": ["1", "2"],
    }.items():
        assert f"--folders {option}" in str(error.value)
        assert identities(read_source(photos, folders=option)) == expected
    source = read_source(photos, encounter_folders=True)
    assert identities(source) == ["cat", "dog"]
    assert {photograph.encounter for photograph in source.photographs} == {"1", "2"}


def test_species_in_splits_are_asked_about_with_the_whole_layout(folder):
    photos = folder("train/cat/1", "train/cat/2", "test/cat/1", "test/dog/1")
    with pytest.raises(NoseprintError, match="--folders split/group/individual"):
        read_source(photos)
    assert identities(read_source(photos, folders="split/group/individual")) == ["cat/1", "cat/2", "dog/1"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test"), "lie in folders named test, train, and not in a folder for each individual"),
        (("train/images", "test/images"), "lie in folders named images, and not in a folder for each individual"),
        (
            ("rex", "luna", "test/rex"),
            "test has the name of a split and holds only folders, beside the folders luna, rex",
        ),
    ],
)
def test_splits_that_are_no_individuals_are_told(folder, folders, message):
    photos = folder(*folders)
    with pytest.raises(NoseprintError, match=message):
        read_source(photos)
    assert len(identities(read_source(photos, folders="individual"))) == len(folders)


def test_a_folder_for_each_photograph_is_told(folder):
    photos = folder(*DOGS, files=("1.jpg",))
    with pytest.raises(NoseprintError, match="each of the 12 folders holds one photograph"):
        read_source(photos)
    assert len(read_source(photos, folders="individual").photographs) == 12


def test_the_days_of_a_single_individual_are_no_individuals(folder):
    assert identities(read_source(folder("rex/2024-05-01", "rex/2024-06-02"))) == ["rex"]


@pytest.mark.parametrize("levels", ["", "species/individual", "individual/split", "group", "2"])
def test_levels_that_have_no_meaning_are_told(folder, levels):
    with pytest.raises(NoseprintError, match="say what each level of folders is"):
        read_source(folder(*DOGS), folders=levels)


@pytest.mark.parametrize("top", ["train_set", "Training", "val2017", "test images", "fold_3", "query", "holdout"])
def test_names_of_splits(folder, top):
    assert identities(read_source(folder(*(f"{top}/{dog}" for dog in DOGS), "train/dog0"))) == sorted(DOGS)


def test_options_that_the_source_has_no_use_for_are_told(folder, tmp_path):
    (tmp_path / "table.csv").touch()
    with pytest.raises(NoseprintError, match="--folders individual is for a folder"):
        read_source(tmp_path / "table.csv", folders="individual")
    with pytest.raises(NoseprintError, match="--box-columns is for a table"):
        read_source(folder(*DOGS), boxes=BoxOptions(columns=("bbox",)))


def test_photographs_above_the_individuals_are_faults(folder):
    photos = folder(*(f"train/{dog}" for dog in DOGS), "test")
    source = read_source(photos)
    assert [fault.problem for fault in source.faults] == ["is in no individual's folder: move it into one"] * 2


# -- boxes from a file -------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    for name in ("rex/1.jpg", "rex/2.jpg", "luna/1.jpg", "luna/2.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / name), np.zeros((20, 40, 3), np.uint8))
    return tmp_path / "photos"


def read_boxes(photos, file):
    return read_source(photos, boxes=BoxOptions(file=file))


def results(path, **boxes):
    images = [
        {"file": name, "detections": [{"category": "1", "conf": conf, "bbox": box} for conf, *box in own]}
        for name, own in boxes.items()
    ]
    path.write_text(json.dumps({"images": images, "detection_categories": {"1": "animal"}}))
    return path


ONE = [(0.9, 0.1, 0.1, 0.5, 0.5), (0.1, 0, 0, 0.2, 0.2)]
TWO = [(0.3, 0.5, 0.5, 0.5, 0.5), (0.8, 0, 0, 0.5, 0.5)]


def test_boxes_of_detections_join_the_photographs_of_a_folder(photos):
    file = results(photos / "md.json", **{"rex/1.jpg": ONE, "rex/2.jpg": TWO, "luna/1.jpg": [], "other.jpg": ONE})
    source = read_source(photos, boxes=BoxOptions(file=file))
    assert [(photograph.identity, photograph.box) for photograph in source.photographs] == [("rex", Box(4, 2, 24, 12))]
    problems = {str(fault.file.relative_to(photos)): fault.problem for fault in source.faults}
    assert set(problems) == {"rex/2.jpg", "luna/1.jpg", "luna/2.jpg"}  # and not md.json itself
    assert "has 2 boxes of confidence 0.2 or more, but shows one individual" in problems["rex/2.jpg"]
    assert problems["luna/1.jpg"] == f"has no box in {file}: draw one, or leave the photograph out"
    assert problems["luna/2.jpg"] == f"is not in {file}"
    expected = "boxes from MegaDetector's results (confidence 0.2 or more) as x,y,w,h in fractions of the photograph"
    assert source.description.endswith(expected)


def test_a_photograph_that_the_detector_could_not_read_is_told(photos):
    file = results(photos / "md.json", **{"rex/1.jpg": ONE, "rex/2.jpg": [(0.1, 0, 0, 0.2, 0.2)], "luna/2.jpg": ONE})
    written = json.loads(file.read_text())
    written["images"] += [{"file": "luna/1.jpg", "detections": None, "failure": "image access"}]
    file.write_text(json.dumps(written))
    problems = {fault.file.relative_to(photos).as_posix(): fault.problem for fault in read_boxes(photos, file).faults}
    assert problems == {
        "luna/1.jpg": f"was not read by the detector (image access), says {file}: run it again",
        "rex/2.jpg": f"has no box of confidence 0.2 or more in {file}: lower --confidence",
    }
    predictions = [{"filepath": "luna/1.jpg", "failures": ["DETECTOR"]}, {"filepath": "rex/1.jpg", "detections": []}]
    file.write_text(json.dumps({"predictions": predictions}))
    assert any("was not read by the detector (DETECTOR)" in fault.problem for fault in read_boxes(photos, file).faults)


def test_the_confidence_and_the_surest_box_settle_which_counts(photos):
    file = results(photos / "md.json", **{"rex/1.jpg": TWO})
    for options in ({"confidence": 0.5}, {"surest": True}):
        source = read_source(photos, boxes=BoxOptions(file=file, **options))
        assert [photograph.box for photograph in source.photographs] == [Box(0, 0, 20, 10)]
    everything = read_source(photos, boxes=BoxOptions(file=file, crop=False))
    assert [photograph.box for photograph in everything.photographs] == [None] * 4


def test_one_name_for_two_photographs_is_told(photos):
    source = read_source(photos, boxes=BoxOptions(file=results(photos / "md.json", **{"1.jpg": ONE})))
    assert [fault.problem.partition(" in ")[0] for fault in source.faults].count(
        "cannot be matched to a name of its own"
    ) == 2
    assert not source.photographs


def test_a_file_of_other_photographs_is_one_message(photos):
    expected = "names none of the 4 photographs: its first name is 'cat/7.jpg', the first photograph"
    with pytest.raises(DataError, match=expected):
        read_source(photos, boxes=BoxOptions(file=results(photos / "md.json", **{"cat/7.jpg": ONE})))


def test_boxes_of_detections_join_a_table_of_which_each_photograph_shows_one_individual(photos, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("path,individual\nrex/1.jpg,Rex\nrex/2.jpg,Rex\nluna/1.jpg,Luna\nluna/1.jpg,Rex\n")
    file = results(tmp_path / "md.json", **dict.fromkeys(("rex/1.jpg", "rex/2.jpg", "luna/1.jpg"), ONE))
    source = read_source(table, images=photos, boxes=BoxOptions(file=file))
    assert [photograph.box for photograph in source.photographs] == [Box(4, 2, 24, 12)] * 2
    assert ["shows 2 individuals" in fault.problem for fault in source.faults] == [True, True]


def test_a_table_with_boxes_and_a_file_of_boxes_contradict_each_other(photos, tmp_path):
    (tmp_path / "table.csv").write_text('path,dog,bbox\nrex/1.jpg,Rex,"[1, 1, 5, 5]"\n')
    with pytest.raises(NoseprintError, match=r"has boxes \('bbox'\), and so has .*leave --boxes out"):
        read_source(tmp_path / "table.csv", images=photos, boxes=BoxOptions(file=tmp_path / "md.json"))


def test_columns_that_are_no_boxes_after_all_are_told_and_not_trained(photos, tmp_path):
    lines = [
        f"{name},{name[:3]},500000,4200000,40,20\n" for name in ("rex/1.jpg", "rex/2.jpg", "luna/1.jpg", "luna/2.jpg")
    ]
    (tmp_path / "table.csv").write_text("path,dog,x,y,width,height\n" + "".join(lines))
    with pytest.raises(NoseprintError, match=r"box 'x', 'y', 'width', 'height': 0 of 4 fit .*--no-crop"):
        read_source(tmp_path / "table.csv", images=photos)
    assert len(read_source(tmp_path / "table.csv", images=photos, boxes=BoxOptions(crop=False)).photographs) == 4


def test_boxes_that_are_not_read_are_told(photos, tmp_path):
    (tmp_path / "table.csv").write_text("path,dog,head_bbox\nrex/1.jpg,Rex,1 2 3 4\nrex/2.jpg,Rex,\nluna/1.jpg,Luna,\n")
    source = read_source(tmp_path / "table.csv", images=photos)
    assert source.description.endswith("; whole photographs, though boxes may be in 'head_bbox': see --box-columns")
    assert "boxes" not in read_source(tmp_path / "table.csv", images=photos, boxes=BoxOptions(crop=False)).description


def test_fields_too_long_for_a_file_name_are_no_files(photos, tmp_path):
    note = "x" * 5000
    (tmp_path / "table.csv").write_text(f"file,note,dog\nrex/1.jpg,{note},Rex\nrex/2.jpg,{note},Rex\n{note},,Luna\n")
    source = read_source(tmp_path / "table.csv", images=photos, identity_column="dog")
    assert len(source.photographs) == 2
    assert "there is no photograph" in source.faults[0].problem


def test_an_empty_column_of_boxes_is_none(photos, tmp_path):
    (tmp_path / "table.csv").write_text("path,dog,bbox\nrex/1.jpg,Rex,\nrex/2.jpg,Rex,nan\nluna/1.jpg,Luna,\n")
    assert [p.box for p in read_source(tmp_path / "table.csv", images=photos).photographs] == [None] * 3
