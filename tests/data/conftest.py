"""What the tests of the tables share: a data folder in the layout of the challenge."""

import pytest

HEADER = "dog ID,nose print image\n"


@pytest.fixture
def data(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        for name in ("A*n1.jpg", "b 2.jpg", "ü.jpg"):
            (tmp_path / split / "images" / name).write_bytes(b"x")
    (tmp_path / "train" / "train_data.csv").write_text(
        "dog ID,nose print image\n7,A*n1.jpg\n7,b 2.jpg\n8,ü.jpg\n", encoding="utf-8"
    )
    (tmp_path / "validation" / "valid_data.csv").write_text("imageA,imageB\nb 2.jpg,A*n1.jpg\n")
    (tmp_path / "test" / "test_data.csv").write_text("imageA,imageB\nA*n1.jpg,b 2.jpg\nA*n1.jpg,A*n1.jpg\n")
    return tmp_path


def rewrite(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
