"""noseprint turns photographs into identities."""

__version__ = "0.1.0"
