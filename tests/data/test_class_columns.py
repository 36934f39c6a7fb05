"""Which column of a table is which: by option, by name, and what is said if it is not clear."""

import pytest

from noseprint.data.class_columns import ClassColumns, read_class_rows
from noseprint.errors import Fault


def columns_of(tmp_path, header: str, rows: str = "", **options):
    path, faults = tmp_path / "images.csv", list[Fault]()
    path.write_text(f"{header}\n{rows}")
    found = read_class_rows(path, ClassColumns(**options), faults=faults)
    names = {kind: found.names[at] for kind, at in found.at.items()} if found else None
    return names, [str(fault).removeprefix(f"{path}, ") for fault in faults]


@pytest.mark.parametrize("image", ["image", "File", "path", "filename", "file_name", "image path", "ImageFile"])
@pytest.mark.parametrize("label", ["label", "Class", "category", "species", "class name"])
def test_columns_are_recognised(tmp_path, image, label):
    header = f"{label},relabelled,fold,{image},Split,sender"
    assert columns_of(tmp_path, header) == ({"image": image, "label": label, "split": "Split"}, [])


def test_options_win(tmp_path):
    options = {"image": "a", "label": "B", "split": "c", "group": "d"}
    found, faults = columns_of(tmp_path, "image,label,split,group,a,b,c,d", **options)
    assert (found, faults) == ({"image": "a", "label": "b", "split": "c", "group": "d"}, [])


def test_every_unclear_column_is_a_fault(tmp_path):
    found, faults = columns_of(tmp_path, "x,class,species,split,part", "1,a,b,train,val\n", group="sender")
    assert found is None
    assert faults == [
        "line 1: which column is the image? Name one with --image-column; the columns are 'x', 'class', 'species', "
        "'split', 'part'",
        "line 1: the label may be in the column 'class' or 'species': name one of them with --label-column",
        "line 1: the split may be in the column 'split' or 'part': name one of them with --split-column",
        "line 1: there is no column 'sender': name one with --group-column; the columns are 'x', 'class', 'species', "
        "'split', 'part'",
    ]


def test_a_wrong_option_names_the_columns(tmp_path):
    found, [fault] = columns_of(tmp_path, "image,label", label="kind")
    assert found is None
    assert fault == "line 1: there is no column 'kind': name one with --label-column; the columns are 'image', 'label'"


def test_equal_columns_need_no_option(tmp_path):
    assert columns_of(tmp_path, "image,class,species", "1,a,a\n2,b,b\n")[0] == {"image": "image", "label": "class"}
    assert columns_of(tmp_path, "image,label,label", "1,a,a\n")[1] == []
    assert columns_of(tmp_path, "image,label,label", "1,a,b\n")[1] == [
        "line 1: 2 columns are named 'label', and they differ: rename or delete the others"
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"image;label\n1.jpg;cat\n", "separated by semicolons"),
        (b"image\tlabel\n", "separated by tabs"),
        ("image,label\n1.jpg,cat\n".encode("utf-16"), "UTF-16"),
        (b"sep=,\nimage,label\n", "for Excel"),
        (b"PK\3\4", "Excel"),
        (b'image,"la\n', "check the quotes"),
        (b"", "the first line is empty"),
        (b"\n1.jpg,cat\n", "the first line is empty"),
        (None, "the table is missing"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, content, problem):
    path, faults = tmp_path / "images.csv", list[Fault]()
    if content is not None:
        path.write_bytes(content)
    assert read_class_rows(path, ClassColumns(), faults=faults) is None
    assert len(faults) >= 1
    assert problem in str(faults[0])


def test_a_row_with_too_few_fields_is_a_fault_with_its_line(tmp_path):
    _, [fault] = columns_of(tmp_path, "image,label,note", "1.jpg,cat,\n2.jpg\n")
    assert fault == "line 3: 1 fields, expected 3 (image,label,note)"
