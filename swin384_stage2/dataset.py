"""What swin384_stage2 trains on: labelled photographs and pseudo-identities, degraded as the test photographs are."""

from pathlib import Path

from noseprint.data.motion_blur import MotionBlur
from noseprint.data.tables import ImageTable, read_pseudo, read_train
from noseprint.data.transforms import A, Transform

HERE = Path(__file__).resolve().parent


def training_tables(data: Path, *, run: str, pseudo: bool) -> tuple[ImageTable, ImageTable | None]:
    """The labelled photographs, and the pseudo-identities found among the validation photographs."""
    pseudo_csv = HERE.parent / "pseudo_produce" / "results" / run / "pseudo.csv"
    return read_train(data, missing_ok=True), read_pseudo(pseudo_csv, data, missing_ok=True) if pseudo else None


def degraded_transform(size: int) -> Transform:
    """Nearly half lose their detail, one in six is cropped; infer.py --degraded-transform uses this, too."""
    larger = round(size * 432 / 384)
    return A.Compose(
        [
            A.OneOf([A.Resize(60, 60, p=0.6), A.Resize(60, 84, p=0.2), A.Resize(47, 60, p=0.2)], p=0.45),
            A.OneOf(
                [
                    A.Compose([A.Resize(larger, larger), A.RandomCrop(size, size)], p=0.2),
                    A.Resize(size, size, p=1.0),
                ],
                p=1.0,
            ),
        ]
    )


def training_transform(size: int) -> Transform:
    """The degraded transform, then JPEG, motion blur (its kernel scales with the side), brightness and contrast."""
    longest_blur = max(3, round(size * 41 / 384) // 2 * 2 + 1)
    return A.Compose(
        [
            degraded_transform(size),
            A.ImageCompression(quality_range=(90, 100), p=0.75),
            MotionBlur(blur_limit=(3, longest_blur), p=0.8),
            A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.4),
        ]
    )


def evaluation_transform(size: int) -> Transform:
    """The whole photograph, squeezed into a square."""
    return A.Resize(size, size)
