"""Files of boxes: MegaDetector's formats and COCO are recognised by what is in them; other JSON is told."""

import json
from pathlib import Path

import pytest

from noseprint.errors import DataError
from noseprint.importing.box_files import match_names, read_box_file, read_coco_table

MEGADETECTOR = {
    "info": {"format_version": "1.4"},
    "detection_categories": {"1": "animal", "2": "person", "7": "tractor"},
    "images": [
        {
            "file": "rex/1.jpg",
            "detections": [
                {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4], "classifications": [["3", 0.9]]},
                {"category": "2", "conf": 0.8, "bbox": [0, 0, 1, 1]},
                {"category": "1", "conf": 0.1, "bbox": [0.5, 0.5, 0.2, 0.2]},
            ],
        },
        {"file": "rex/2.jpg", "detections": None, "failure": "Failure image access"},
        {"file": "rex/film.mp4", "detections": []},
    ],
}
MICROSOFT = [
    {
        "file": "rex/1.jpg",
        "detections": [
            {"category": "animal", "confidence": 0.9, "bbox": [10.4, 20.1, 40.7, 60.2]},
            {"category": "person", "confidence": 0.8, "bbox": [0, 0, 9, 9]},
        ],
    },
    {"file": "rex/2.jpg", "detections": []},
]
WILDLIFE = {
    "annotations": [
        {"img_id": "rex/1.jpg", "bbox": [[10, 20, 40, 60], [0, 0, 9, 9]], "category": [0, 1], "confidence": [0.9, 0.8]},
        {"img_id": "rex/2.jpg", "bbox": [], "category": [], "confidence": []},
    ],
    "categories": {"0": "animal", "1": "person"},
}
REAL_TIME = {"rex/1.jpg": [[0.2, 0.1, 0.6, 0.4, 0.9, 1], [0, 0, 1, 1, 0.8, 2]], "rex/2.jpg": []}
COCO = {
    "images": [
        {"id": 1, "file_name": "rex/1.jpg", "width": 100, "height": 50, "seq_id": "s1", "location": None},
        {"id": 2, "file_name": "rex/2.jpg"},
    ],
    "categories": [{"id": 3, "name": "dog"}],
    "annotations": [
        {"id": 7, "image_id": "1", "category_id": 3, "bbox": [10, 20, 30, 40], "name": "Rex", "individual_ids": [7, 9],
         "segmentation": [[1, 2]]},
        {"id": 8, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "name": "Luna", "score": 0.6},
        {"id": 9, "image_id": 1, "category_id": 3, "name": "Rex"},
    ],
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "boxes.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def numbers(found, name):
    return [(box.stated.numbers, box.confidence) for box in found.boxes[name]]


@pytest.mark.parametrize(
    ("content", "kind", "form", "first"),
    [
        (MEGADETECTOR, "MegaDetector's results", "xywh", (0.1, 0.2, 0.3, 0.4)),
        (MEGADETECTOR["images"], "MegaDetector's results", "xywh", (0.1, 0.2, 0.3, 0.4)),
        (MICROSOFT, "results of Microsoft's MegaDetector", "xyxy", (10.4, 20.1, 40.7, 60.2)),
        (WILDLIFE, "PyTorch-Wildlife's results", "xyxy", (10, 20, 40, 60)),
        (REAL_TIME, "results of MegaDetector's real-time API", "yxyx", (0.2, 0.1, 0.6, 0.4)),
        (COCO, "COCO", "xywh", (10, 20, 30, 40)),
    ],
)
def test_each_format_is_recognised_by_its_content(write, content, kind, form, first):
    found = read_box_file(write(content))
    assert (found.kind, found.formats) == (kind, (form,))
    assert found.orientation == ("stored" if "Microsoft" in kind else "upright")
    assert found.boxes["rex/1.jpg"][0].stated.numbers == first
    assert found.boxes["rex/2.jpg"] == []


def test_people_are_left_out_where_animals_were_detected(write):
    for content in (MEGADETECTOR, MICROSOFT, WILDLIFE, REAL_TIME):
        found = read_box_file(write(content))
        assert {box.category for boxes in found.boxes.values() for box in boxes} == {"animal"}
    assert numbers(read_box_file(write(MEGADETECTOR)), "rex/1.jpg")[1] == ((0.5, 0.5, 0.2, 0.2), 0.1)
    people = [{"file": "a.jpg", "detections": MICROSOFT[0]["detections"][1:]}]
    assert numbers(read_box_file(write(people)), "a.jpg") == [((0, 0, 9, 9), 0.8)]


def test_predictions_of_speciesnet_are_read(write):
    detection = {"category": "1", "label": "animal", "conf": 0.98, "bbox": [0.1, 0.2, 0.3, 0.4]}
    found = read_box_file(write({"predictions": [{"filepath": "a.jpg", "detections": [detection]}]}))
    assert numbers(found, "a.jpg") == [((0.1, 0.2, 0.3, 0.4), 0.98)]


def test_coco_has_sizes_scores_and_annotations_without_a_box(write):
    found = read_box_file(write(COCO))
    assert numbers(found, "rex/1.jpg") == [((10, 20, 30, 40), 1), ((1, 2, 3, 4), 0.6)]
    assert found.boxes["rex/1.jpg"][0].stated.size == (100, 50)


def test_coco_as_a_table(write):
    table = read_coco_table(write(COCO))
    assert [dict(zip(table.names, row, strict=True)) for row in table.rows] == [
        {"file_name": "rex/1.jpg", "name": name, "encounter": "s1", "location": "", "category": "dog"}
        for name in ("Rex", "Luna", "Rex")
    ]
    assert [box and box.numbers for box in table.boxes] == [(10, 20, 30, 40), (1, 2, 3, 4), None]
    assert table.without_annotation == 1


def test_relative_boxes_of_coco_camera_traps_are_read(write):
    annotation = {"id": "a", "image_id": "2", "category_id": 3, "bbox_relative": [0.1, 0.2, 0.3, 0.4]}
    assert numbers(read_box_file(write(COCO | {"annotations": [annotation]})), "rex/2.jpg")[0][0] == (
        0.1,
        0.2,
        0.3,
        0.4,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,identity\n", "line 1: is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ({"shapes": [], "imagePath": "a.jpg"}, "is not a file of boxes that noseprint knows"),
        ([1, 2], "is not a file of boxes"),
        ({"a": [1, 2]}, "is not a file of boxes"),
        (
            {"images": [{"file": "a.jpg", "detections": [{"conf": 0.9, "bbox": [1, 2, 3]}]}]},
            "images.0.detections.0.bbox",
        ),
        (WILDLIFE | {"annotations": [WILDLIFE["annotations"][0] | {"category": [0]}]}, "rex/1.jpg: its lists differ"),
    ],
)
def test_other_files_are_told(write, content, message):
    with pytest.raises(DataError, match=message):
        read_box_file(write(content))


def test_what_is_wrong_in_coco_as_a_table(write, tmp_path):
    with pytest.raises(DataError, match=r"has MegaDetector's results, which name no individuals: .* --boxes"):
        read_coco_table(write(MEGADETECTOR))
    with pytest.raises(DataError, match="annotation 8: there is no image '5'"):
        read_coco_table(write(COCO | {"annotations": [{"id": 8, "image_id": 5, "category_id": 3}]}))
    with pytest.raises(DataError, match=r"missing.json: cannot be read \(No such file"):
        read_coco_table(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["rex/1.jpg", "luna/1.jpg"], [["rex/1.jpg"], ["luna/1.jpg"]]),
        (["/elsewhere/photos/rex/1.jpg", "x/luna/1.jpg"], [["/elsewhere/photos/rex/1.jpg"], ["x/luna/1.jpg"]]),
        (["C:\\photos\\rex\\1.jpg", ".\\luna\\1.jpg"], [["C:\\photos\\rex\\1.jpg"], [".\\luna\\1.jpg"]]),
        (["a/rex/1.jpg", "b/rex/1.jpg"], [["a/rex/1.jpg", "b/rex/1.jpg"], []]),
        (["photos/rex/1.jpg", "old/rex/1.jpg"], [["photos/rex/1.jpg"], []]),
        (["1.jpg"], [["1.jpg"], ["1.jpg"]]),
        (["1.jpg", "rex/1.jpg"], [["rex/1.jpg"], ["1.jpg"]]),
        (["cat/1.jpg"], [[], []]),
        (["2.jpg"], [[], []]),
    ],
)
def test_names_in_a_file_are_matched_from_their_end(names, expected):
    photographs = [Path("/my/photos/rex/1.jpg"), Path("/my/photos/luna/1.jpg")]
    assert match_names(photographs, Path("/my/photos"), names) == expected


def test_photographs_that_were_moved_are_matched_by_file_names_if_all_are_different():
    photographs = [Path("/my/photos/rex/1.jpg"), Path("/my/photos/luna/é.jpg")]
    assert match_names(photographs, Path("/my/photos"), ["cam/e\u0301.jpg", "cam/1.jpg"]) == [
        ["cam/1.jpg"], ["cam/e\u0301.jpg"]
    ]  # fmt: skip
    assert match_names(photographs, Path("/my/photos"), ["cam/1.jpg"]) == [[], []]
