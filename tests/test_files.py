import errno
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from noseprint import files
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write, check_output


def write(path, text):
    with atomic_write(path) as part:
        part.write_text(text)


def names(folder):
    return [entry.name for entry in folder.iterdir()]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write(path, "old")

    def fail_halfway():
        with atomic_write(path) as part:
            part.write_text("half")
            assert path.read_text() == "old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "old"
    write(path, "new")
    assert path.read_text() == "new"
    assert names(path.parent) == ["table.csv"]


@contextmanager
def small_files_only():
    """Let the kernel refuse files of more than 1000 bytes: a real disk error that needs no root.

    The limit applies to the file of the tests' own output too, so leave this before the test ends.
    """
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_file_and_the_error_names_it(tmp_path):
    path = tmp_path / "table.csv"
    write(path, "old")
    with small_files_only():
        with pytest.raises(NoseprintError, match=r"table\.csv: cannot be written \(File too large\)"):
            write(path, "x" * 1001)
        write(tmp_path / "other.csv", "x" * 1000)
    assert path.read_text() == "old"
    assert sorted(names(tmp_path)) == ["other.csv", "table.csv"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left.*free some space"),
        (errno.EROFS, "Read-only file system.*another folder"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "mkdir", "replace"])
def test_every_refused_system_call_gives_the_same_error(tmp_path, monkeypatch, number, message, call):
    path = tmp_path / "made" / "table.csv"

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os if call == "fsync" else Path, call, refuse)
    with pytest.raises(NoseprintError, match=f"table.csv: cannot be written .{message}"):
        write(path, "text")
    monkeypatch.undo()
    assert list(tmp_path.rglob("*.csv")) + list(tmp_path.rglob("*.part")) == []


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "link.csv").symlink_to("elsewhere/target.csv")
    write(tmp_path / "link.csv", "text")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "elsewhere" / "target.csv").read_text() == "text"
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True)
    write(tmp_path / "pipe", "some text")
    assert reader.communicate(timeout=20)[0] == "some text"
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_refused(tmp_path):
    (tmp_path / "results").write_text("I am a file")
    with pytest.raises(NoseprintError, match="cannot be written"):
        write(tmp_path / "results" / "table.csv", "text")
    with pytest.raises(NoseprintError, match="move or rename the folder"):
        write(tmp_path, "text")


WRITE = """
import sys, time
from pathlib import Path
from noseprint.files import atomic_write, check_output
with atomic_write(Path(sys.argv[1])) as part:
    part.write_text("slow")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def start_writing(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_files_of_killed_writers_are_removed_and_those_of_live_ones_are_not(tmp_path):
    path, other = tmp_path / "table.csv", tmp_path / "table.csv.csv"
    killed, alive, neighbour = start_writing(path), start_writing(path), start_writing(other)
    killed.kill()
    killed.wait()
    assert len(list(tmp_path.glob(".table.csv.*.part"))) == 3
    write(path, "quick")
    assert len(list(tmp_path.glob(".table.csv.*.part"))) == 2
    for process in (alive, neighbour):
        assert process.communicate("\n", timeout=20)[0] == ""
        assert process.returncode == 0
    assert path.read_text() == other.read_text() == "slow"
    assert list(tmp_path.glob(".*")) == []


def test_a_file_that_another_writer_removes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, removed = files.try_lock, []

    def remove_first(file):
        if not removed:
            removed.append(True)
            files._remove_abandoned(tmp_path / "x")
        return lock(file)

    monkeypatch.setattr(files, "try_lock", remove_first)
    with files.atomic_write(tmp_path / "x") as part:
        part.write_text("complete")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "complete"


def to_stdout(*lines, redirect, cwd):
    code = "\n".join(("from pathlib import Path", "from noseprint.files import atomic_write", *lines))
    subprocess.run(["bash", "-c", f'"$0" -c "$1" {redirect}', sys.executable, code], cwd=cwd, check=True, timeout=60)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link.csv", "link to a link"])
def test_standard_output_is_added_to_where_the_shell_appends(tmp_path, name):
    (tmp_path / "link.csv").symlink_to("/dev/stdout")
    (tmp_path / "link to a link").symlink_to("link.csv")
    (tmp_path / "all.txt").write_text("kept\n")
    to_stdout(
        "print('before')",
        f"with atomic_write(Path({name!r})) as part: part.write_text('data\\n')",
        "print('after')",
        redirect=">> all.txt",
        cwd=tmp_path,
    )
    assert (tmp_path / "all.txt").read_text() == "kept\nbefore\ndata\nafter\n"
    assert sorted(names(tmp_path)) == ["all.txt", "link to a link", "link.csv"]


def test_another_open_file_is_added_to(tmp_path):
    to_stdout(
        "with atomic_write(Path('/dev/fd/5')) as part: part.write_text('data')",
        redirect="5> five.txt; printf more >> five.txt",
        cwd=tmp_path,
    )
    assert (tmp_path / "five.txt").read_text() == "datamore"


def test_a_named_pipe_gets_the_bytes(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with subprocess.Popen(["cat", tmp_path / "pipe.csv"], stdout=subprocess.PIPE) as reader:
        write(tmp_path / "pipe.csv", "data")
        assert reader.communicate(timeout=20)[0] == b"data"


def test_a_failed_write_to_a_stream_writes_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")

    def fail_halfway():
        with atomic_write(tmp_path / "pipe.csv") as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert names(tmp_path) == ["pipe.csv"]


@pytest.mark.parametrize("letter", ["a", "犬"])
def test_a_name_as_long_as_the_disk_allows_can_be_written(tmp_path, letter):
    name = letter * (251 // len(letter.encode())) + ".csv"
    check_output(tmp_path / name, suffix=".csv", inputs=())
    write(tmp_path / name, "data")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 260 + ".csv", "File name too long.*choose a shorter name"),
        ("file.txt/a.csv", "cannot be written"),
        ("folder.csv", "give a file name that ends in .csv"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, name, message):
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(NoseprintError, match=message):
        check_output(tmp_path / name, suffix=".csv", inputs=())
    assert sorted(names(tmp_path)) == ["file.txt", "folder.csv"]


def test_a_read_only_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(NoseprintError, match=r"Read-only file system.*another folder"):
        check_output(tmp_path / "a.csv", suffix=".csv", inputs=())


def test_checking_an_output_changes_nothing(tmp_path):
    write(tmp_path / "a.csv", "old")
    check_output(tmp_path / "a.csv", suffix=".csv", inputs=())
    assert (names(tmp_path), (tmp_path / "a.csv").read_text()) == (["a.csv"], "old")
