"""The one exception that speaks to the user."""


class NoseprintError(Exception):
    """Something the user can mend: the message says what is wrong, where (file, row, value) and how to mend it."""
