import errno
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
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
    """The names of the photographs that were decoded, in order."""
    calls = []
    monkeypatch.setattr(cache, "decode", lambda path: calls.append(path.name) or decode(path))
    return calls


def written(path, *, shape=(20, 30, 3)):
    uncompressed = [cv2.IMWRITE_PNG_COMPRESSION, 0]  # all files have one size
    cv2.imwrite(str(path), RNG.integers(0, 256, shape, np.uint8), uncompressed)
    return path


def entries(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_photograph_is_decoded_once_and_keeps_its_pixels(photo, tmp_path, decoded):
    first, *later = [decode_cached(photo, tmp_path / "cache") for _ in range(3)]
    assert decoded == ["a.png"]
    for image in (first, *later):
        assert np.array_equal(image, decode(photo))
        assert image.dtype == np.uint8
    assert not later[0].flags.writeable


def overwrite_in_place(photo, times):
    time.sleep(0.02)  # a tick of the file system's clock is 4 ms, or 10
    photo.write_bytes(written(photo.with_name("b.png")).read_bytes())
    os.utime(photo, ns=times)


def replace_by_another_file(photo, times):
    other = written(photo.with_name("b.png"))
    os.utime(other, ns=times)
    other.replace(photo)


@pytest.mark.parametrize("change", [overwrite_in_place, replace_by_another_file])
def test_changed_content_is_decoded_again(photo, tmp_path, change):
    """Even if its size is the same and its time of modification was set back."""
    before, status = decode_cached(photo, tmp_path / "cache"), photo.stat()
    change(photo, (status.st_atime_ns, status.st_mtime_ns))
    assert (photo.stat().st_size, photo.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = decode_cached(photo, tmp_path / "cache")
    assert np.array_equal(after, decode(photo))
    assert not np.array_equal(after, before)


@pytest.mark.parametrize("length", [0, 5, 100])
def test_an_entry_that_is_too_short_is_decoded_again(photo, tmp_path, length, decoded):
    decode_cached(photo, tmp_path / "cache")
    (entry,) = entries(tmp_path / "cache")
    os.truncate(entry, length)
    assert np.array_equal(decode_cached(photo, tmp_path / "cache"), decode(photo))
    decode_cached(photo, tmp_path / "cache")
    assert decoded == ["a.png", "a.png"]


def test_the_folder_may_be_removed_at_any_time(photo, tmp_path):
    decode_cached(photo, tmp_path / "cache")
    image = decode_cached(photo, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(image, decode(photo))
    assert np.array_equal(decode_cached(photo, tmp_path / "cache"), image)


@pytest.mark.parametrize(("total", "left_free"), [(20_000, 2_000), (2**50, 5 * 2**30)])
def test_the_disk_is_never_filled_up(photo, tmp_path, disk, total, left_free):
    pixels = 20 * 30 * 3
    disk(total=total, free=left_free + pixels - 1)
    assert np.array_equal(decode_cached(photo, tmp_path / "cache"), decode(photo))
    assert not entries(tmp_path / "cache")
    disk(total=total, free=left_free + pixels + 1)
    decode_cached(photo, tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == 1


def test_many_threads_leave_one_complete_entry(photo, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: decode_cached(photo, tmp_path / "cache"), range(8)))
    assert all(np.array_equal(image, decode(photo)) for image in images)
    assert len(entries(tmp_path / "cache")) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_failed_write_leaves_nothing_and_a_full_disk_is_not_an_error(photo, tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", fail)
    if number == errno.EROFS:
        with pytest.raises(NoseprintError, match="Read-only file system"):
            decode_cached(photo, tmp_path / "cache")
    else:
        assert np.array_equal(decode_cached(photo, tmp_path / "cache"), decode(photo))
    assert not entries(tmp_path / "cache")


def test_a_photograph_with_a_fault_is_reported_and_not_cached(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, problem in {"broken.png": "cut off", "missing.png": "no such photograph", "a\0": "null byte"}.items():
        with pytest.raises(DataError, match=problem):
            decode_cached(tmp_path / name, tmp_path / "cache")
    assert not entries(tmp_path / "cache")


def test_a_folder_that_cannot_be_written_is_reported(photo, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(NoseprintError, match="cache"):
        decode_cached(photo, tmp_path / "cache")


def test_a_check_of_the_photographs_fills_the_cache(photo, tmp_path, decoded):
    assert find_faults([photo], read=cached_decoder(tmp_path / "cache")) == []
    decode_cached(photo, tmp_path / "cache")
    assert decoded == ["a.png"]
    assert cached_decoder(None) is cache.decode
