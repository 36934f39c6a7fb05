"""Damage pictures of every format at random and decode them: only DataError may come out.

python tests/slow/fuzz_images.py --minutes 10 --seed 0
"""

import argparse
import io
import re
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from noseprint.data.images import decode
from noseprint.errors import DataError

SAVED = [  # format, mode, options
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "L", {}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {}),
    ("PNG", "I;16", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("TIFF", "RGB", {}),
    ("TIFF", "L", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
]


def samples(rng: np.random.Generator) -> list[bytes]:
    """A small picture in every way of saving it."""
    pixels = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((48, 36))
    files = []
    for kind, mode, options in SAVED:
        buffer = io.BytesIO()
        pixels.convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, kind, exif=_turned(), **options)
        files.append(buffer.getvalue())
    return files


def _turned() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


def damage(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One to six changes, most near the start, where sizes stand: bytes, numbers, cuts, parts of another picture."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 7)):
        at = 4 + int(len(changed) * rng.random() ** 3)
        match rng.integers(6):
            case 0 | 1:
                changed[at : at + 1] = rng.bytes(1)
            case 2:
                changed[at : at + 4] = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"][
                    rng.integers(4)
                ]
            case 3:
                del changed[at : at + int(rng.integers(1, 40))]
            case 4:
                changed[at:at] = rng.bytes(int(rng.integers(1, 40)))
            case 5:
                changed[at : at + 60] = other[at : at + 60]
    return bytes(changed)


def main() -> None:
    """Fuzz and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    files = samples(rng)
    seen: Counter[str] = Counter()
    slowest = 0.0
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged"
        while time.monotonic() < end:
            one, other = rng.integers(len(files), size=2)
            path.write_bytes(damage(files[one], files[other], rng))
            start = time.monotonic()
            try:
                decode(path)
                seen["decoded"] += 1
            except DataError as error:
                seen[re.sub(r"\d+", "N", error.faults[0].problem).split(":")[0]] += 1
            except Exception:
                path.rename(Path.cwd() / "fuzz_found")
                raise
            slowest = max(slowest, time.monotonic() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seen.total()} files, the slowest {slowest:.2f} s, peak memory {peak:.0f} MiB")
    for what, count in seen.most_common(20):
        print(f"{count:9}  {what}")


if __name__ == "__main__":
    main()
