"""The processes of this machine, read from /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process, its parent, the leader of its session, and whether it is a zombie."""

    pid: int
    parent: int
    session: int
    ended: bool

    def script(self) -> str:
        """The recipe script or noseprint command that it runs; "" if it is not python."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_text(errors="replace").split("\0")
        except OSError:
            return ""
        if "python" not in Path(words[0]).name or len(words) < 3:
            return ""
        return words[1] if words[1].endswith(".py") else " ".join(words[2:4])


def processes() -> Iterator[Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - making hundreds of Paths would take too long
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            yield Process(int(name), parent=int(fields[1]), session=int(fields[3]), ended=fields[0] == "Z")
