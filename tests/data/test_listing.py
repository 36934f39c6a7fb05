import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from noseprint.data.listing import list_photographs
from noseprint.errors import NoseprintError

HEIC = Path(__file__).with_name("sideways.heic")


@pytest.fixture
def photos(tmp_path):
    """A folder with photographs of all kinds, and with other files."""
    folder = tmp_path / "photos"
    (folder / "rex" / "more").mkdir(parents=True)
    picture = Image.new("RGB", (8, 8))
    for name, kind in {"a.JPG": "JPEG", "b.jfif": "JPEG", "c.mpo": "MPO", "d": "PNG", "e.avif": "AVIF"}.items():
        picture.save(folder / "rex" / name, kind)
    picture.save(folder / "rex" / "more" / "f.tif")
    shutil.copy(HEIC, folder / "rex" / "g.heic")
    (folder / "rex" / "h.jpg").touch()  # broken, which is reported when it is decoded
    picture.save(folder / "i.gif", "GIF")
    (folder / "j.mov").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    (folder / "k.txt").write_text("BMI of rex")
    shutil.copy(folder / "rex" / "more" / "f.tif", folder / "l.nef")  # as a camera's raw file begins
    picture.save(folder / ".hidden.jpg", "JPEG")
    (folder / "Thumbs.db").touch()
    return folder


IN_REX = ("rex/a.JPG", "rex/b.jfif", "rex/c.mpo", "rex/d", "rex/e.avif", "rex/g.heic", "rex/h.jpg", "rex/more/f.tif")


def test_photographs_are_known_by_their_content_and_the_rest_is_named(photos, capsys):
    assert list_photographs(photos) == (photos, IN_REX)
    told = capsys.readouterr()
    assert told.out == ""
    expected = (
        "3 of 11 files are left out, because noseprint does not read them: "
        "1 .gif (i.gif); 1 .mov (j.mov); 1 .nef (l.nef)"
    )
    assert expected in told.err
    assert "k.txt" not in told.err
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found", ".thumbnails"])
def test_folders_of_a_system_or_an_archive_hold_no_photographs(photos, capsys, name):
    shutil.copytree(photos / "rex" / "more", photos / "rex" / name)
    assert list_photographs(photos / "rex")[1] == tuple(each.removeprefix("rex/") for each in IN_REX)
    assert capsys.readouterr().err == ""


def test_nothing_is_said_if_nothing_is_left_out(photos, capsys):
    assert list_photographs(photos / "rex")[1] == tuple(name.removeprefix("rex/") for name in IN_REX)
    assert list_photographs(photos / "i.gif") == (photos, ("i.gif",))  # decoding it says what is wrong
    assert capsys.readouterr().err == ""


def test_heic_that_cannot_be_read_is_named_with_the_way_to_read_it(photos, capsys, monkeypatch):
    monkeypatch.setattr("noseprint.data.listing.can_decode", lambda kind: kind != "HEIC")
    assert "rex/g.heic" not in list_photographs(photos)[1]
    assert "1 HEIC (rex/g.heic). To read HEIC or AVIF: pip install noseprint[heic]" in capsys.readouterr().err


def test_of_many_files_of_a_kind_some_are_named(photos, capsys):
    for number in range(12):
        (photos / f"m{number:02}.mp4").touch()
    list_photographs(photos)
    assert "12 .mp4 (m00.mp4, m01.mp4, m02.mp4, ...)" in capsys.readouterr().err


def test_linked_folders_are_followed_once(photos, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(photos / "rex" / "more", elsewhere / "luna")
    (elsewhere / "back").symlink_to(photos)
    (photos / "a link").symlink_to(elsewhere)
    shutil.copytree(elsewhere / "luna", tmp_path / "other photographs")
    (photos / "above").symlink_to(tmp_path)
    (photos / "again").symlink_to(elsewhere / "luna")
    (photos / "rex" / "more" / "self").symlink_to(".")
    (photos / "first, by name").symlink_to(photos / "rex")
    (photos / "gone").symlink_to(tmp_path / "gone")
    (photos / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    assert list_photographs(photos)[1] == ("a link/luna/f.tif", "gone.jpg", *IN_REX)


def test_pipes_and_unreadable_folders_are_left_out(photos, capsys, monkeypatch):
    os.mkfifo(photos / "pipe")
    (photos / "secret").mkdir()
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert list_photographs(photos)[1] == IN_REX
    assert "1 folder that cannot be read (secret)" in (error := capsys.readouterr().err)
    assert "1 file without a suffix (pipe)" in error


def test_a_folder_without_photographs_is_refused_with_what_it_holds(photos):
    shutil.rmtree(photos / "rex")
    with pytest.raises(NoseprintError, match=r"has no photographs \(JPEG.*AVIF\); 3 of 3 files .*: 1 \.gif \(i\.gif\)"):
        list_photographs(photos)
    with pytest.raises(NoseprintError, match="no such photograph or folder"):
        list_photographs(photos / "none")
