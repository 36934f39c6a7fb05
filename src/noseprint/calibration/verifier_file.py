"""The file of a verifier as plain JSON: so much is known without torch."""

import json
from pathlib import Path
from typing import Any

from noseprint.errors import NoseprintError
from noseprint.models.weights_header import printable

FORMAT = "noseprint verifier 1"
_MOST_BYTES = 2**24


def read_plain(path: Path) -> dict[str, Any]:
    """What the file holds besides its format and version. Raises NoseprintError for what is missing or no verifier."""
    if not path.is_file():
        raise NoseprintError(f"{path.absolute()}: no such verifier; make it with noseprint calibrate")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
    except (ValueError, RecursionError, OSError) as error:
        raise no_verifier(path, error) from error
    told.pop("version", None)
    return told


def no_verifier(path: Path, error: Exception) -> NoseprintError:
    """That the file at `path` is no verifier, for which `error` is the reason."""
    return NoseprintError(f"{path}: no verifier ({printable(str(error))}); make it with noseprint calibrate")
