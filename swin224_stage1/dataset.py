"""What swin224_stage1 trains on: labelled photographs and pseudo-identities, as coarse as validation photographs."""

from pathlib import Path

from noseprint.data.tables import ImageTable, read_pseudo, read_train
from noseprint.data.transforms import A, Transform

HERE = Path(__file__).resolve().parent
COARSE = A.OneOf([A.Resize(50, 50), A.Resize(60, 60), A.Resize(70, 70), A.Resize(80, 80)], p=0.45)


def training_tables(data: Path, *, run: str, pseudo: bool) -> tuple[ImageTable, ImageTable | None]:
    """The labelled photographs, and the pseudo-identities found among the validation photographs."""
    pseudo_csv = HERE.parent / "pseudo_produce" / "results" / run / "pseudo.csv"
    return read_train(data, missing_ok=True), read_pseudo(pseudo_csv, data, missing_ok=True) if pseudo else None


def training_transform(size: int) -> Transform:
    """Nearly half of the photographs lose their detail: down to a few dozen pixels, without antialiasing."""
    return A.Compose([COARSE, A.Resize(size, size)])


def cropped_transform(size: int) -> Transform:
    """The same, of a random crop of at least 0.7 of the area: for --small."""
    return A.Compose([COARSE, A.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.9, 1.11))])


def evaluation_transform(size: int) -> Transform:
    """The whole photograph, squeezed into a square."""
    return A.Resize(size, size)


def degraded_transform(size: int) -> Transform:
    """The second transform of infer.py --degraded-transform: as coarse as in training."""
    return training_transform(size)
