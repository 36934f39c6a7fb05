"""Boxes: found among columns, read from fields, placed in upright photographs, and cut out."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from noseprint.data.decoding import decode
from noseprint.errors import NoseprintError
from noseprint.importing.boxes import (
    Box,
    BoxOptions,
    StatedBox,
    crop_suffix,
    find_box_columns,
    parse_box,
    place_boxes,
    unread_box_columns,
    write_crop,
)

WIDTH, HEIGHT = 40, 20


@pytest.fixture
def photo(tmp_path):
    """Writes a photograph of 40 x 20 stored pixels with an EXIF orientation."""

    def write(name="photo.png", orientation=1):
        pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(pixels).save(tmp_path / name, exif=exif, quality=95)
        return tmp_path / name

    return write


def place(path, *numbers, formats=("xywh",), orientation="upright", size=None):
    stated = [StatedBox(each, size) for each in numbers]
    return place_boxes([path] * len(stated), stated, formats=formats, orientation=orientation)


@pytest.mark.parametrize(
    ("form", "numbers"),
    [("xywh", (4, 2, 12, 10)), ("xyxy", (4, 2, 16, 12)), ("cxcywh", (10, 7, 12, 10)), ("yxyx", (2, 4, 12, 16))],
)
def test_each_format_gives_the_same_box_in_pixels_and_in_fractions(photo, form, numbers):
    path = photo()
    sides = (HEIGHT, WIDTH) * 2 if form == "yxyx" else (WIDTH, HEIGHT) * 2
    fractions = tuple(number / side for number, side in zip(numbers, sides, strict=True))
    for stated, unit in ((numbers, "in pixels"), (fractions, "in fractions")):
        boxes, description = place(path, stated, formats=(form,))
        assert boxes == [Box(4, 2, 16, 12)]
        assert unit in description


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_of_the_stored_image_is_turned_as_exif_turns_the_image(photo, tmp_path, orientation):
    path = photo(orientation=orientation)
    (box,), _ = place(path, (4, 2, 12, 9), orientation="stored")
    write_crop(path, box, tmp_path / "crop.png")
    with Image.open(path) as image:
        stored = Image.fromarray(np.asarray(image)[2:11, 4:16])
        stored.getexif()[274] = orientation
        expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(decode(tmp_path / "crop.png"), expected)


def test_boxes_are_in_the_upright_image_and_the_description_says_so(photo, tmp_path):
    path = photo(orientation=6)  # upright it is 20 x 40
    (box,), description = place(path, (4, 22, 10, 12))
    write_crop(path, box, tmp_path / "crop.png")
    np.testing.assert_array_equal(decode(tmp_path / "crop.png"), decode(path)[22:34, 4:14])
    assert "in the upright images (1 photographs are turned by EXIF" in description
    (problem,), _ = place(path, (22, 4, 12, 10))
    assert "extends beyond the photograph of 20 x 40 pixels, which EXIF turns" in problem
    assert "are the boxes in the stored images" in problem


def test_a_stated_size_tells_which_image_the_box_is_in(photo):
    path = photo(orientation=6)
    assert place(path, (4, 2, 12, 9), size=(WIDTH, HEIGHT))[0] == place(path, (4, 2, 12, 9), orientation="stored")[0]
    assert place(path, (4, 2, 12, 9), size=(HEIGHT, WIDTH))[0] == [Box(4, 2, 16, 11)]
    (problem,), _ = place(path, (4, 2, 12, 9), size=(80, 40))
    assert "is for a photograph of 80 x 40 pixels, and this one has 20 x 40" in problem


def test_of_two_possible_formats_the_one_with_which_most_boxes_fit_is_taken(photo):
    corners = [(4, 2, 16, 12), (20, 5, 38, 18), (1, 1, 9, 9)]
    boxes, description = place(photo(), *corners, formats=("xywh", "xyxy"))
    assert boxes == [Box(*each) for each in corners]
    assert description == "x1,y1,x2,y2 in pixels (so 3 of 3 fit; 2 as x,y,w,h; --box-format changes it)"
    boxes, description = place(photo(), (4, 2, 12, 10), formats=("xywh", "xyxy"))
    assert boxes == [Box(4, 2, 16, 12)]  # both fit: the first
    assert "1 as x1,y1,x2,y2" in description


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((-1.5, 0, 43, 20), Box(0, 0, 40, 20)),  # 2 pixels over the edge are cut
        ((-3, 0, 43, 20), "extends beyond the photograph of 40 x 20 pixels"),
        ((30, 5, 12.5, 5), "extends beyond the photograph"),
        ((50, 30, 5, 5), "extends beyond the photograph"),
        ((4, 2, 0, 10), "is empty"),
        ((4, 2, -5, 10), "is empty"),
        ((4, 2, 0.3, 10), "less than a pixel"),
        ((4, 2, float("nan"), 10), "not finite"),
        ((4.4, 2.6, 12.2, 10.2), Box(4, 3, 17, 13)),
    ],
)
def test_a_box_that_is_empty_or_outside_is_a_problem(photo, numbers, expected):
    (found, _, _), _ = place(photo(), numbers, (1, 1, 5, 5), (2, 2, 5, 5))
    assert found == expected if isinstance(expected, Box) else expected in found


def test_one_box_in_pixels_does_not_make_pixels_of_fractions(photo):
    boxes, _ = place(photo(), (0.1, 0.1, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5), (3, 3, 5, 5))
    assert boxes[:2] == [Box(4, 2, 24, 12), Box(20, 10, 40, 20)]
    assert "extends beyond the photograph" in boxes[2]


def test_a_photograph_that_cannot_be_read_is_the_problem_of_its_box(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert "is cut off" in place(tmp_path / "broken.jpg", (1, 1, 5, 5))[0][0]


def test_tiff_is_upright_already(photo):
    path = photo("photo.tiff", orientation=6)
    assert decode(path).shape == (WIDTH, HEIGHT, 3)
    assert place(path, (4, 22, 10, 12))[0] == [Box(4, 22, 14, 34)]


@pytest.mark.parametrize(
    ("names", "positions", "formats"),
    [
        (("path", "bbox"), (1,), ("xywh", "xyxy")),
        (("Bounding Box", "path"), (0,), ("xywh", "xyxy")),
        (("bbox_xyxy",), (0,), ("xyxy",)),
        (("h", "w", "y", "x"), (3, 2, 1, 0), ("xywh",)),
        (("x", "y", "width", "height"), (0, 1, 2, 3), ("xywh",)),
        (("bboxX", "bboxY", "bboxWidth", "bboxHeight"), (0, 1, 2, 3), ("xywh",)),
        (("XMin", "XMax", "YMin", "YMax"), (0, 2, 1, 3), ("xyxy",)),
        (("box_x1", "box_y1", "box_x2", "box_y2"), (0, 1, 2, 3), ("xyxy",)),
        (("left", "top", "right", "bottom"), (0, 1, 2, 3), ("xyxy",)),
        (("bbox1", "bbox2", "bbox3", "bbox4"), (0, 1, 2, 3), ("xywh", "xyxy")),
        (("bbox_0", "bbox_1", "bbox_2", "bbox_3"), (0, 1, 2, 3), ("xywh", "xyxy")),
        (("x_center", "y_center", "width", "height"), (0, 1, 2, 3), ("cxcywh",)),
        (("center_x", "center_y", "width", "height"), (0, 1, 2, 3), ("cxcywh",)),
        (("xbr", "ybr", "xtl", "ytl"), (2, 3, 0, 1), ("xyxy",)),
        (("bbox_yolo",), (0,), ("cxcywh",)),
        (("bbox_pascal_voc",), (0,), ("xyxy",)),
    ],
)
def test_columns_of_boxes_are_known_by_their_names(names, positions, formats):
    found = find_box_columns(names, [], BoxOptions())
    assert (found.positions, found.formats) == (positions, formats)


@pytest.mark.parametrize(
    "names", [("path", "identity"), ("width", "height"), ("x", "y"), ("1", "2", "3", "4"), ("box",)]
)
def test_other_columns_are_no_boxes(names):
    assert find_box_columns(names, [["12"] * len(names)], BoxOptions()) is None


def test_a_column_named_box_is_one_if_boxes_are_in_it():
    assert find_box_columns(("box",), [[""], ["1 2 3 4"]], BoxOptions()).positions == (0,)


def test_the_names_in_a_field_tell_the_format():
    field = '{"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}'
    for names, columns in ((("BoundingBox",), ()), (("where",), ("where",))):
        found = find_box_columns(names, [[""], [field]], BoxOptions(columns=columns))
        assert (found.positions, found.formats) == ((0,), ("xyxy",))


def test_columns_that_perhaps_hold_boxes_are_named():
    rows = [["", "", "7", "a.jpg", ""], ["0.5 0.5 0.1 0.1", "nan", "8", "b.jpg", "polygon"]]
    assert unread_box_columns(["yolo", "head_bbox", "site", "file", "face bbox"], rows) == ["yolo", "face bbox"]


def test_a_column_of_boxes_that_the_user_names_is_the_one_in_the_same_case():
    assert find_box_columns(("BOX", "box"), [["", "1 2 3 4"]], BoxOptions(columns=("box",))).positions == (1,)


def test_columns_and_format_that_the_user_names():
    names = ("top", "left", "down", "right")
    found = find_box_columns(names, [], BoxOptions(columns=("Left", "top", "right", "down"), format="xyxy"))
    assert (found.positions, found.formats) == ((1, 0, 3, 2), ("xyxy",))
    ordered = find_box_columns(("y2", "x2", "y1", "x1"), [], BoxOptions(columns=("y2", "x2", "y1", "x1")))
    assert (ordered.positions, ordered.formats) == ((3, 2, 1, 0), ("xyxy",))
    for columns, message in ((("depth",), "no column 'depth'"), (("top", "left"), "one column, or four")):
        with pytest.raises(NoseprintError, match=message):
            find_box_columns(names, [], BoxOptions(columns=columns))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["[10, 20.5, 3e1, 40]"], (10, 20.5, 30, 40)),
        (["10 20 30 40"], (10, 20, 30, 40)),
        (["(10;20;30;40)"], (10, 20, 30, 40)),
        (["[np.float64(10.0), np.float64(.2), np.float64(30.0), np.float64(-4)]"], (10, 0.2, 30, -4)),
        (["{'x': 10, 'y': 20, 'width': 30, 'height': 40}"], (10, 20, 30, 40)),
        (["10", "20,5", "30", "40"], (10, 20.5, 30, 40)),
        (["{'Width': .3, 'Height': .4, 'Left': .1, 'Top': .2}"], (0.1, 0.2, 0.3, 0.4)),
        (["BoundingBox(ymax=40, xmax=30, ymin=20, xmin=10)"], (10, 20, 30, 40)),
        (["{'east': 10, 'north': 20, 'south': 30, 'west': 40}"], "other names than x, y, width, height"),
        ([""], None),
        (["nan", "NaN", "", "None"], None),
        (["[1, 2, 3]"], "3 numbers, not four"),
        (["1", "2", "", "4"], "3 numbers"),
        (["[[1, 2, 3, 4], [5, 6, 7, 8]]"], "8 numbers: write a row for each box"),
        (["yes"], "0 numbers"),
    ],
)
def test_fields_of_a_box(fields, expected):
    found = parse_box(fields)
    assert expected in found if isinstance(expected, str) else found == expected


def test_crops_of_jpeg_are_jpeg_and_others_lose_nothing(photo, tmp_path):
    for name, suffix, loss in (
        ("a.jpg", ".jpg", 3),
        ("b.JPEG.png", ".png", 0),
        ("c.webp", ".png", 0),
        ("d.bmp", ".png", 0),
    ):
        path = photo(name)
        assert crop_suffix(path) == suffix
        write_crop(path, Box(4, 2, 16, 12), tmp_path / f"crop{suffix}")
        difference = decode(tmp_path / f"crop{suffix}").astype(int) - decode(path)[2:12, 4:16]
        assert np.abs(difference).mean() <= loss
        assert difference.shape == (10, 12, 3)
