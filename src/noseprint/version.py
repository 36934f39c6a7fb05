"""The version, which weights and other files record."""

__version__ = "0.2.0.dev0"
