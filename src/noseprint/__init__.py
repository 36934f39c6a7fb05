"""noseprint turns photographs into identities.

The names in `__all__` are the public Python API, which docs/python_api.md explains. Each is imported when it is first
used, so that `import noseprint` does not load torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from noseprint.version import __version__ as __version__

if TYPE_CHECKING:
    from noseprint.api import (
        Gallery,
        calibrate,
        check,
        embed,
        evaluate,
        import_photographs,
        load,
        load_verifier,
        train,
        verify,
        write_demo,
    )
    from noseprint.errors import NoseprintError

# Threads of torch spin while they wait for each other. Beside a busy process, that costs far more than its share of the
# cores. torch reads the variable when it is loaded. benchmarks/busy.py measures the effect.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__all__ = [
    "Gallery",
    "NoseprintError",
    "calibrate",
    "check",
    "embed",
    "evaluate",
    "import_photographs",
    "load",
    "load_verifier",
    "train",
    "verify",
    "write_demo",
]
_MODULES = dict.fromkeys(__all__, "noseprint.api") | {"NoseprintError": "noseprint.errors"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'noseprint' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    """List the public names too, before they are imported."""
    return sorted({*globals(), *__all__})
