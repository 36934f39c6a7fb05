"""Options of a recipe's fetch.py, known without the network."""

from dataclasses import dataclass
from pathlib import Path

from noseprint.errors import NoseprintError
from noseprint.version import __version__


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Options of fetch.py."""

    data: Path
    """Data folder that is filled: train/CLASS/ID.jpg, val/CLASS/ID.jpg, test/ID.jpg."""
    train: Path | None = None
    """List of the training images: the competition's JSON, or CSV with the columns id,url,class[,sha256]."""
    val: Path | None = None
    """List of the images that the networks are judged on."""
    test: Path | None = None
    """List of the images to classify; they need no class."""
    connections: int = 4
    """Connections to one host at a time."""
    rate: float = 10.0
    """Requests a second to one host, at most."""
    timeout: float = 60.0
    """Seconds after which a try at an image is given up."""
    most_mb: float = 32.0
    """Largest file in MiB."""
    user_agent: str = f"noseprint/{__version__}"
    """What the program calls itself to the hosts. Add an address where their owners can reach you."""
    again: bool = False
    """Also retry images that an earlier run found to be gone, broken or not an image."""
    allow_private: bool = False
    """Trust the lists: also read file:// URLs and addresses of the local network, and use the proxy that the
    environment names."""
    offline: bool = False
    """Use no network: only read file:// URLs, which needs --allow-private, and write missing.csv."""
    small: bool = False
    """Changes nothing here."""
    run: str = ""
    """Changes nothing here."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not 1 <= self.connections <= 64:
            raise NoseprintError(f"--connections {self.connections}: must be in 1..64")
        for option, value in (("rate", self.rate), ("timeout", self.timeout), ("most-mb", self.most_mb)):
            if not 0 < value < float("inf"):
                raise NoseprintError(f"--{option} {value}: must be above 0")
        if not self.user_agent.isascii() or not self.user_agent.isprintable() or not self.user_agent.strip():
            raise NoseprintError(f"--user-agent {self.user_agent!r}: give a name of plain ASCII characters")
