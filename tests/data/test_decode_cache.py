import errno
import os
import shutil
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.data import decode_cache as cache
from noseprint.data.decode_cache import cached_decoder, decode_cached
from noseprint.data.decoding import decode, find_faults
from noseprint.errors import DataError, NoseprintError

RNG = np.random.default_rng(0)


@pytest.fixture
def photo(tmp_path):
    return written(tmp_path / "a.png")


@pytest.fixture
def decoded(monkeypatch):
    """The photographs that were really decoded, in turn."""
    calls = []
    monkeypatch.setattr(cache, "decode", lambda path: calls.append(path.name) or decode(path))
    return calls


def written(path, *, shape=(20, 30, 3)):
    cv2.imwrite(str(path), RNG.integers(0, 256, shape, np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 0])  # sizes are equal
    return path


def entries(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_decoded_once_and_the_same_pixels(photo, tmp_path, decoded):
    first, *later = [decode_cached(photo, tmp_path / "store") for _ in range(3)]
    assert decoded == ["a.png"]
    for image in (first, *later):
        assert np.array_equal(image, decode(photo))
        assert image.dtype == np.uint8
    assert not later[0].flags.writeable


def overwrite_in_place(photo, times):
    time.sleep(0.02)  # a tick of the file system's clock is 4 ms, or 10
    photo.write_bytes(written(photo.with_name("b.png")).read_bytes())
    os.utime(photo, ns=times)


def put_another_there(photo, times):
    other = written(photo.with_name("b.png"))
    os.utime(other, ns=times)
    other.replace(photo)


@pytest.mark.parametrize("change", [overwrite_in_place, put_another_there])
def test_another_content_is_never_taken_for_it(photo, tmp_path, change):
    """Not even one of the same size whose time of modification was set back."""
    before, status = decode_cached(photo, tmp_path / "store"), photo.stat()
    change(photo, (status.st_atime_ns, status.st_mtime_ns))
    assert (photo.stat().st_size, photo.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = decode_cached(photo, tmp_path / "store")
    assert np.array_equal(after, decode(photo))
    assert not np.array_equal(after, before)


@pytest.mark.parametrize("length", [0, 5, 100])
def test_what_was_cut_short_is_decoded_again(photo, tmp_path, length, decoded):
    decode_cached(photo, tmp_path / "store")
    (entry,) = entries(tmp_path / "store")
    os.truncate(entry, length)
    assert np.array_equal(decode_cached(photo, tmp_path / "store"), decode(photo))
    decode_cached(photo, tmp_path / "store")
    assert decoded == ["a.png", "a.png"]


def test_the_store_may_be_removed_at_any_time(photo, tmp_path):
    decode_cached(photo, tmp_path / "store")
    image = decode_cached(photo, tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    assert np.array_equal(image, decode(photo))
    assert np.array_equal(decode_cached(photo, tmp_path / "store"), image)


@pytest.mark.parametrize(("total", "kept"), [(20_000, 2_000), (2**50, 5 * 2**30)])
def test_the_disk_is_never_filled(photo, tmp_path, disk, total, kept):
    pixels = 20 * 30 * 3
    disk(total=total, free=kept + pixels - 1)
    assert np.array_equal(decode_cached(photo, tmp_path / "store"), decode(photo))
    assert not entries(tmp_path / "store")
    disk(total=total, free=kept + pixels + 1)
    decode_cached(photo, tmp_path / "store")
    assert len(entries(tmp_path / "store")) == 1


def test_many_at_a_time_leave_one_whole_entry(photo, tmp_path):
    images = []
    threads = [
        threading.Thread(target=lambda: images.append(decode_cached(photo, tmp_path / "store"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 8
    assert all(np.array_equal(image, decode(photo)) for image in images)
    assert len(entries(tmp_path / "store")) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_write_that_fails_leaves_nothing_and_want_of_room_ends_nothing(photo, tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", fail)
    if number == errno.EROFS:
        with pytest.raises(NoseprintError, match="Read-only file system"):
            decode_cached(photo, tmp_path / "store")
    else:
        assert np.array_equal(decode_cached(photo, tmp_path / "store"), decode(photo))
    assert not entries(tmp_path / "store")


def test_a_fault_is_told_and_not_kept(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, problem in {"broken.png": "cut off", "missing.png": "No such file", "a\0": "null byte"}.items():
        with pytest.raises(DataError, match=problem):
            decode_cached(tmp_path / name, tmp_path / "store")
    assert not entries(tmp_path / "store")


def test_a_folder_that_cannot_be_written_is_named(photo, tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(NoseprintError, match="store"):
        decode_cached(photo, tmp_path / "store")


def test_a_check_fills_the_store(photo, tmp_path, decoded):
    assert find_faults([photo], read=cached_decoder(tmp_path / "store")) == []
    decode_cached(photo, tmp_path / "store")
    assert decoded == ["a.png"]
    assert cached_decoder(None) is cache.decode
