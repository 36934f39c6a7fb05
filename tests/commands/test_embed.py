import csv
import shutil

import pytest

from noseprint.commands.embed import Embed
from noseprint.errors import NoseprintError
from noseprint.inference.gallery import read_gallery


def test_skip_bad_embeds_the_rest_and_lists_what_it_left_out(demo, tmp_path, write_weights, capsys):
    weights, photos = (write_weights(tmp_path / "w.safetensors"),), tmp_path / "photos"
    shutil.copytree(demo / "test" / "images", photos)
    names = sorted(path.name for path in photos.iterdir())
    for name in names[1:3]:
        (photos / name).write_bytes(b"\xff\xd8\xff")
    (photos / "film.mov").touch()
    out = tmp_path / "g.safetensors"
    with pytest.raises(NoseprintError, match=f"2 of {len(names)} photographs cannot be read"):
        Embed(photos, weights, out, device="cpu")()
    assert not out.exists()
    Embed(photos, weights, out, device="cpu", skip_bad=True)()
    assert read_gallery(out).names == (names[0], *names[3:])
    with (tmp_path / "g.skipped.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [str(photos / name) for name in names[1:3]]
    told = capsys.readouterr()
    assert "files are left out, because noseprint does not read them: 1 .mov (film.mov)" in told.err
    assert f"2 of {len(names)} photographs cannot be read and are left out" in told.err
    assert told.out.startswith(f"photographs: {len(names) - 2}, ")
    for name in names[1:3]:
        (photos / name).unlink()
    Embed(photos, weights, out, device="cpu")()
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "w.safetensors", "g.safetensors"}
