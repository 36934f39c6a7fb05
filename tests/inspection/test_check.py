import csv
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from noseprint.data.decoding import decode
from noseprint.inspection.check import check, measure_splits
from noseprint.inspection.findings import FINDINGS_HEADER, report_text, write_findings


@pytest.fixture
def data(demo, tmp_path):
    """A copy of the demo that a test may change."""
    return shutil.copytree(demo, tmp_path / "data")


def rows(data, table):
    with (data / table).open(newline="") as file:
        return list(csv.reader(file))


def add(data, table, *more):
    with (data / table).open("a", newline="") as file:
        csv.writer(file).writerows(more)


def images(data, split):
    return sorted((data / split / "images").iterdir())


def save(path, image):
    path.write_bytes(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())


def findings(report, kind):
    return [finding for finding in (*report.faults, *report.remarks) if finding.kind == kind]


def test_a_good_folder_has_figures_and_no_faults(demo):
    report = check(demo)
    assert report.faults == []
    train, validation, test = report.splits
    table = rows(demo, "train/train_data.csv")[1:]
    assert train.images == len(table)
    assert sorted(train.per_identity) == sorted(np.unique([row[0] for row in table], return_counts=True)[1].tolist())
    assert validation.per_identity is None
    assert test.per_identity == (4, 4, 4, 4)  # from retrieval.csv
    short = sorted(min(decode(path).shape[:2]) for path in images(demo, "train"))
    assert sorted(train.short_sides) == short
    assert np.median(train.sharpness) > 2 * np.median(test.sharpness)  # the test photographs are blurred
    assert (train.tiny, train.dark) == (0, 0)
    text = report_text(report, demo)
    assert f"\ntrain       {len(table)} " in text
    assert text.endswith("nothing here stops a training.")


def test_every_fault_of_tables_and_photographs_is_listed(data):
    broken = images(data, "validation")[:8]
    for path in broken:
        path.write_bytes(b"")
    (data / "test" / "test_data.csv").write_text("A,B\n1,2\n")
    (data / "retrieval.csv").unlink()
    train = images(data, "train")[0]
    train.write_bytes(train.read_bytes()[:300])
    add(data, "train/train_data.csv", ("", "x.jpg"))
    report = check(data)
    named = {row for table in ("valid_data.csv", "labels.csv") for r in rows(data, f"validation/{table}") for row in r}
    assert {f.file for f in findings(report, "image")} == {train, *(p for p in broken if p.name in named)}
    tables = " ".join(f"{f.file} {f.problem}" for f in findings(report, "table"))
    assert "train_data.csv" in tables
    assert "test_data.csv" in tables
    text = report_text(report, data)
    assert "  train/images/" in text
    assert "... and " in text
    assert f"noseprint check {data} --csv FILE" in text
    assert text.endswith("a training would stop.")


def test_missing_folders_are_faults(tmp_path):
    report = check(tmp_path)
    assert len(findings(report, "table")) == 3
    assert "a training would stop" in report_text(report, tmp_path)


def test_copies_under_two_identities_in_two_splits_or_with_a_wrong_label_are_remarked(data):
    a, b, c = images(data, "train")[:3]
    shutil.copy(a, a.with_name("other dog.jpg"))
    add(data, "train/train_data.csv", ("another", "other dog.jpg"))
    test = images(data, "test")[0]
    save(test, cv2.resize(decode(b), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA))
    one, other, _ = next(row for row in rows(data, "validation/labels.csv") if row[2] == "0")
    folder = data / "validation" / "images"
    save(folder / one, decode(folder / other))
    owner = next(row[0] for row in rows(data, "train/train_data.csv") if row[1] == c.name)
    shutil.copy(c, c.with_name("same dog.jpg"))
    add(data, "train/train_data.csv", (owner, "same dog.jpg"))
    before = check(data)
    assert before.faults == []
    (wrong,) = findings(before, "two identities")
    assert {wrong.file.name, wrong.other.name} == {a.name, "other dog.jpg"}
    assert "'another'" in wrong.problem
    (leak,) = findings(before, "two splits")
    assert (leak.file, leak.other) == (b, test)
    (label,) = findings(before, "labelled different")
    assert {label.file.name, label.other.name} == {one, other}
    near = [(finding.file, finding.other) for finding in findings(before, "near copy")]
    assert (c, c.with_name("same dog.jpg")) in near
    assert f"{c.name}  " in report_text(before, data)


def test_names_that_differ_in_case_and_files_that_no_table_names_are_remarked(data):
    a = images(data, "train")[0]
    shutil.copy(a, a.with_name(a.name.upper()))
    owner = next(row[0] for row in rows(data, "train/train_data.csv") if row[1] == a.name)
    add(data, "train/train_data.csv", (owner, a.name.upper()))
    (data / "train" / "images" / "notes.txt").touch()
    (data / "train" / "images" / ".hidden").touch()
    report = check(data)
    (case,) = findings(report, "case")
    assert {case.file.name, case.other.name} == {a.name, a.name.upper()}
    assert [f.file.name for f in findings(report, "unlisted") if "train" in f.file.parts] == ["notes.txt"]
    assert report.faults == []


def test_individuals_that_are_missing_or_rounded_or_have_alike_names(data):
    a, b, c, *_ = images(data, "train")
    table = rows(data, "train/train_data.csv")
    owner = {row[1]: row for row in table}
    owner[a.name][0], owner[b.name][0], owner[c.name][0] = "Rex", "r\u200bex", "unknown"
    table[-1][0] = "9.85112E+14"
    search = rows(data, "retrieval.csv")
    search[1][2] = "REX"
    for name, content in (("train/train_data.csv", table), ("retrieval.csv", search)):
        with (data / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(content)
    report = check(data)
    train, test = data / "train" / "train_data.csv", data / "retrieval.csv"
    assert [(f.file, f.other, f.problem) for f in findings(report, "alike")] == [
        (test, train, "'REX' and 'Rex' count as two individuals"),
        (test, train, "'REX' and 'r\\u200bex' count as two individuals"),
    ]
    rounded = "'9.85112E+14' is a number that a program has rounded"
    assert [(f.file, f.problem) for f in findings(report, "rounded")] == [(train, rounded)]
    assert [(f.file, f.problem) for f in findings(report, "unknown")] == [(c, "'unknown' in train_data.csv")]
    assert findings(report, "unlisted") == []
    assert report.faults == []
    text = report_text(report, data)
    assert "Individuals whose names a person takes for the same" in text
    assert "Photographs of unknown individuals" in text
    assert report.splits[0].images == len(table) - 1


def test_encounters_that_split_bursts(data):
    header, *table = rows(data, "train/train_data.csv")
    with (data / "train/train_data.csv").open("w", newline="") as file:
        stamped = [(*row, f"2024-05-01 10:00:{n:02}") for n, row in enumerate(table)]
        csv.writer(file).writerows([(*header, "date"), *stamped])
    (finding,) = findings(check(data), "encounters")
    assert finding.file == data / "train" / "train_data.csv"
    assert f"{len(table)} encounters for {len(table)} photographs" in finding.problem


def test_tiny_and_dark_photographs_are_remarked(data):
    tiny, dark, *_ = images(data, "train")
    save(tiny, decode(tiny)[:47, :47])
    save(dark, decode(dark) // 12)
    report = check(data)
    assert (report.splits[0].tiny, report.splits[0].dark) == (1, 1)
    assert [finding.file for finding in findings(report, "tiny")] == [tiny]
    assert [finding.file for finding in findings(report, "dark")] == [dark]
    assert f"train/images/{tiny.name}  short side 47 px" in report_text(report, data)


def test_findings_as_csv_take_one_line_each_whatever_the_file_name(data, tmp_path):
    strange = data / "train" / "images" / "two\nlines \x1b[31m\udcff ü.jpg"
    strange.touch()
    report = check(data)
    write_findings(tmp_path / "f.csv", report)
    lines = (tmp_path / "f.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(FINDINGS_HEADER)
    assert len(lines) == 1 + len(report.faults) + len(report.remarks)
    assert any("two\\nlines \\x1b[31m\\udcff ü.jpg" in line for line in lines)
    report_text(report, data).encode()


def test_the_command_exits_with_1_for_faults_without_loading_torch_and_else_ends_with_the_plan(data, tmp_path):
    code = """
import sys
from noseprint.cli import main
try:
    main()
finally:
    print([name for name in ("torch", "pandas", "albumentations") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, "check", str(data), "--csv", str(tmp_path / "f.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "nothing here stops a training.\n\nWhat a training would make of it:\n- to learn from: " in done.stdout
    images(data, "train")[0].write_bytes(b"")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "is empty" in done.stdout
    assert done.stdout.endswith("\n[]\n")
    assert "image," in (tmp_path / "f.csv").read_text()
    assert done.stderr == ""


def test_labels_that_contradict_retrieval_are_reported(data):
    table = rows(data, "test/labels.csv")
    table[1][2] = str(1 - int(table[1][2]))
    with (data / "test/labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    (finding,) = findings(check(data), "contradiction")
    assert [finding.file.name, finding.other.name] == table[1][:2]
    assert f"label {table[1][2]}, identities '" in finding.problem
    assert "contradicts the identities in retrieval.csv" in report_text(check(data), data)


def test_measure_splits_gives_the_figures_of_a_check(data):
    whole = check(data).splits
    assert measure_splits(data, most=10**6) == whole
    for some, all_of_it in zip(measure_splits(data, most=10), whole, strict=True):
        assert some.images == all_of_it.images
        assert some.per_identity == all_of_it.per_identity
        assert 5 <= len(some.sharpness) <= 10
        assert set(some.sharpness) <= set(all_of_it.sharpness)


def test_measure_splits_ignores_broken_photographs(data):
    images(data, "train")[0].write_bytes(b"")
    (data / "test" / "test_data.csv").unlink()
    whole, some = check(data).splits, measure_splits(data, most=10**6)
    assert [split.short_sides for split in some] == [split.short_sides for split in whole]


def test_identities_with_one_photograph_are_counted(data):
    assert findings(check(data), "single") == []
    one, other, *_ = images(data, "train")
    (data / "train/train_data.csv").write_text(f"dog ID,nose print image\na,{one.name}\nb,{other.name}\n")
    (finding,) = findings(check(data), "single")
    assert finding.problem == "2 of 2 identities have one photograph"
