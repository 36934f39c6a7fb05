"""Fetch the images of lists from the web into the data folder, and write missing.csv; run it again to continue."""

from pathlib import Path

from noseprint.command_line import run
from noseprint.importing.fetch_options import FetchOptions

OPTIONS = FetchOptions(data=Path(__file__).resolve().parent.parent / "data")


def main(options: FetchOptions) -> None:
    """Refuse faulty lists at once, and fetch what is not there."""
    from noseprint.importing.fetch import fetch

    print(fetch(options), flush=True)


if __name__ == "__main__":
    run(main, full=OPTIONS, small=OPTIONS)
