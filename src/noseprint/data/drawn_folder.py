"""A folder that is drawn whole or not at all, and that is recognised as the same one when it is asked for again."""

from collections.abc import Callable, Sequence
from pathlib import Path

from noseprint.errors import NoseprintError
from noseprint.files import scratch_folder


def write_drawn_folder(
    folder: Path, *, draw: Callable[[Path], None], readme: str, signature: str, patterns: Sequence[str]
) -> None:
    """Let `draw` fill `folder`; do nothing if that has been done already.

    The folder is drawn in a hidden one beside it, which is then renamed.
    readme: the text of README.md. The line that says what the folder is follows it: `signature` (of what is drawn, its
    parameters and version) and the number of files. patterns: of the files that are counted, those which `draw` writes.
    Raises NoseprintError if `folder` exists and is not the same (it is not changed), or cannot be written.
    """
    signature = f"<!-- noseprint {signature} files="
    if folder.exists():
        _require_same(folder, signature, patterns)
        return
    try:
        with scratch_folder(folder) as scratch:
            new = scratch / "demo"
            new.mkdir()
            draw(new)
            text = f"{readme}\n{signature}{_count_files(new, patterns)} -->\n"
            (new / "README.md").write_text(text, encoding="utf-8", newline="\n")
            try:
                new.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
                _require_same(folder, signature, patterns)  # another process was faster
    except OSError as error:
        raise NoseprintError(f"{folder} cannot be written ({error}): fix that, or name another folder") from error


def _require_same(folder: Path, signature: str, patterns: Sequence[str]) -> None:
    """Raise NoseprintError unless `folder` is the demo with this `signature` and still has all its files."""
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines() if readme.is_file() else []
    counts = [line.removeprefix(signature).removesuffix(" -->") for line in lines if line.startswith(signature)]
    if counts == [str(_count_files(folder, patterns))]:
        return
    reason = "has lost or gained files since it was written" if counts else "is not a demo with these options"
    raise NoseprintError(f"{folder} exists and {reason}: name a new folder, or remove this one first")


def _count_files(folder: Path, patterns: Sequence[str]) -> int:
    return sum(1 for pattern in patterns for _ in folder.glob(pattern))
