import numpy as np
import pytest

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import read_classes
from noseprint.data.filtered import read_filtered
from noseprint.errors import NoseprintError
from noseprint.inspection.class_filter import write_filtered


@pytest.mark.parametrize("group", [None, "person who took it"])
def test_what_filter_writes_is_read_with_its_groups_and_levels(tmp_path, group):
    data, results = tmp_path / "data", tmp_path / "results"
    rows = ["image,label,split,kind,person who took it"]
    for number in range(8):
        name = f"{'train' if number < 6 else 'val'}/{number}.jpg"
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(np.int64(number).tobytes())
        label = "abc"[number % 3]
        rows.append(f"{name},{label},{name.partition('/')[0]},{'x' if label == 'a' else 'y'},{number // 2}")
    (data / "images.csv").write_text("\n".join(rows) + "\n")
    table = read_classes(data, columns=ClassColumns(group=group), quiet=True)
    results.mkdir()
    write_filtered(table, [], results)
    assert read_filtered(data, results) == table
    assert table.levels
    assert (table.groups is None) == (group is None)


def test_without_filter_there_is_nothing_to_read(tmp_path):
    with pytest.raises(NoseprintError, match=r"images\.csv is missing: run filter/filter\.py"):
        read_filtered(tmp_path, tmp_path)
