"""What b7ns_stage1 trains on: labelled photographs and pseudo-identities, as coarse as the validation ones."""

from pathlib import Path

from noseprint.data.augment import A, View
from noseprint.data.tables import ImageTable, read_pseudo, read_train

HERE = Path(__file__).resolve().parent


def training_tables(data: Path, *, run: str, pseudo: bool) -> tuple[ImageTable, ImageTable | None]:
    """The labelled photographs, and the pseudo-identities found among the validation photographs."""
    found = HERE.parent / "pseudo_produce" / "results" / run / "pseudo.csv"
    return read_train(data, missing_ok=True), read_pseudo(found, data, missing_ok=True) if pseudo else None


def training_view(size: int) -> View:
    """Nearly half of the photographs lose their detail: down to a few dozen pixels, without antialiasing."""
    return A.Compose(
        [
            A.OneOf([A.Resize(50, 50), A.Resize(60, 60), A.Resize(70, 70), A.Resize(80, 80)], p=0.45),
            A.Resize(size, size),
        ]
    )


def evaluation_view(size: int) -> View:
    """The whole photograph, squeezed into a square."""
    return A.Resize(size, size)


def degraded_view(size: int) -> View:
    """A second look for infer.py --degraded-view: as coarse as in training."""
    return training_view(size)
