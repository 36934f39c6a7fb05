"""Random edits of bytes, with tokens that the readers of noseprint give a meaning."""

import random
from collections.abc import Iterable

Edit = tuple[str, int, int, bytes]  # kind, position, amount, token
EDITS = ("put", "insert", "cut", "copy", "end")
TOKENS = (
    *(b",", b";", b"\t", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe9", b"\xc3\xa9"),
    *b"../ / \\ . a.jpg b.jpg 0 1 -1 nan inf 1e999".split(),
    *(b"9" * 25, b"\xd9\xa1"),
    *(b"null", b"[]", b"{}", b"true", b'"\\ud800"', b"[" * 5000, b"hf-hub:a/b", b"resnet18.a1_in1k", b"F16", b"I64"),
    *(
        b"\0" * 4,
        b"\xff" * 4,
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\0\1\0\0",
        b"\xff" * 8,
        b"\x80",
        b"\x7f",
        b"\1",
    ),
    *(
        b"cos\nsystem\n",
        b"ctorch\nload\n",
        b"R",
        b".",
        b"(",
        b"t",
        b"\x85",
        b"}",
        b"]",
        b"0",
        b"J\xff\xff\xff\x7f",
        b"b",
    ),
    *b"--help --small --no-small -- --data --lr --run --seed --weights None".split(),
)


def damaged(data: bytes, edits: Iterable[Edit]) -> bytes:
    """Apply the edits in order; positions count modulo the length."""
    for kind, position, amount, token in edits:
        at = position % (len(data) + 1)
        if kind == "put":
            data = data[:at] + token + data[at + len(token) :]
        elif kind == "insert":
            data = data[:at] + token + data[at:]
        elif kind == "cut":
            data = data[:at] + data[at + amount % 64 + 1 :]
        elif kind == "copy":
            start = amount % (len(data) + 1)
            data = data[:at] + data[start : start + amount % 48 + 1] + data[at:]
        else:
            data = data[:at]
    return data


def random_edits(random: random.Random) -> list[Edit]:
    """Draw one to four edits, with one of TOKENS or a few random bytes."""
    edits = []
    for _ in range(random.choice((1, 1, 2, 4))):
        kind, position, amount = random.choice(EDITS), random.getrandbits(24), random.getrandbits(24)
        token = random.choice(TOKENS) if random.random() < 0.7 else random.randbytes(random.randint(1, 4))
        edits.append((kind, position, amount, token))
    return edits
