"""How much time does our input pipeline take for an image on one core, compared with stock albumentations?

"Stock" runs the recipe's list of transforms with albumentations' own motion blur and seeding, and decodes as the method
of 2022 did (imread, cvtColor). It returns normalised floats, as that method did, or uint8. Every image goes through all
pipelines in turn. The ratios are medians over the rounds.

    python benchmarks/input.py [DATA] [--images 100] [--rounds 5]    DATA: a folder in the challenge's layout, or a demo
    python benchmarks/input.py --picture docs/blur.png               stock and our blur, side by side
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from noseprint.data.datasets import TrainingImages
from noseprint.data.decoding import Image, decode
from noseprint.data.demo import write_demo
from noseprint.data.demo_noses import draw_nose, photograph
from noseprint.data.motion_blur import MotionBlur
from noseprint.data.tables import read_train
from noseprint.data.transforms import A, Transform, apply_transform
from noseprint.devices import reuse_freed_memory

ROOT = Path(__file__).resolve().parents[1]
SIZE = 224
PICTURE_SIDE = 144  # px, of each photograph in the picture
Pipeline = Callable[[int, int], object]  # (round, row) -> what the loader would collate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    reuse_freed_memory()  # as in training
    if options.picture:
        draw(options.picture)
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.data is None:
            write_demo(Path(scratch, "demo"))
        paths = read_train(options.data or Path(scratch, "demo")).paths[: options.images]
        large = enlarged(paths[0], Path(scratch, "large"), count=4)
        for stage in ("stage1", "stage2"):
            transform = recipe(stage)
            compare_pipelines(stage, transform, paths, rounds=options.rounds, cache=Path(scratch, "cache"))
            compare_pipelines(f"{stage}, 12 Mpx", transform, large, rounds=options.rounds, cache=Path(scratch, "cache"))
        time_steps(paths, rounds=options.rounds)


def recipe(stage: str) -> Transform:
    spec = importlib.util.spec_from_file_location("recipe", ROOT / f"swin224_{stage}" / "dataset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    transform: Transform = module.training_transform(SIZE)
    return transform


def stock(transform: A.Compose, *, floats: bool) -> Transform:
    """The recipe's transforms with albumentations' own motion blur and seeding."""
    steps = [
        A.MotionBlur(blur_limit=t.blur_limit, p=t.p) if isinstance(t, MotionBlur) else t for t in transform.transforms
    ]
    return A.Compose([*steps, *([A.Normalize(), A.ToTensorV2()] if floats else [])], seed=0)


def enlarged(path: Path, folder: Path, *, count: int) -> list[Path]:
    """`count` copies of a photograph, enlarged to 12 Mpx."""
    folder.mkdir()
    pixels = cv2.resize(decode(path), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    paths = [folder / f"{k}.jpg" for k in range(count)]
    for large in paths:
        cv2.imwrite(str(large), pixels)
    return paths


def compare_pipelines(name: str, transform: A.Compose, paths: Sequence[Path], *, rounds: int, cache: Path) -> None:
    plain = TrainingImages(paths, range(len(paths)), transform=transform, seed=0)
    cached = TrainingImages(paths, range(len(paths)), transform=transform, seed=0, cache=cache)
    floats, integers = stock(transform, floats=True), stock(transform, floats=False)

    def opened(row: int) -> Image:
        return cv2.cvtColor(cv2.imread(str(paths[row])), cv2.COLOR_BGR2RGB)

    pipelines: dict[str, Pipeline] = {
        "stock, floats": lambda _, row: floats(image=opened(row))["image"],
        "stock, uint8": lambda _, row: integers(image=opened(row))["image"].transpose(2, 0, 1).copy(),
        "ours": lambda step, row: plain[step, row],
        "ours, cached": lambda step, row: cached[step, row],
    }
    for pipeline in pipelines.values():
        for row in range(len(paths)):
            pipeline(0, row)  # fills the cache and reads the files into memory
    seconds: dict[str, list[float]] = {key: [] for key in pipelines}
    for step in range(1, rounds + 1):
        spent = dict.fromkeys(pipelines, 0.0)
        for row in range(len(paths)):
            for key, pipeline in pipelines.items():
                spent[key] += timed(pipeline, step, row)
        for key, total in spent.items():
            seconds[key].append(total / len(paths))
    sides = [decode(path).shape[:2] for path in paths[:50]]
    print(f"\n{name}: decode to {SIZE} px tensor; photographs of about {np.mean(sides):.0f} px a side")
    print(f"{'':16}{'ms/image':>12}{'images/s':>10}{'x stock, floats':>17}{'x stock, uint8':>16}")
    for key, own in seconds.items():
        median = statistics.median(own)
        ratios = [
            statistics.median(a / b for a, b in zip(seconds[base], own, strict=True))
            for base in ("stock, floats", "stock, uint8")
        ]
        print(f"{key:16}{1e3 * median:12.2f}{1 / median:10.0f}{ratios[0]:17.2f}{ratios[1]:16.2f}")


def timed(call: Callable[..., object], *given: object) -> float:
    """CPU seconds: other load on the machine affects them less than wall time, and nothing here waits."""
    start = time.thread_time()
    call(*given)
    return time.thread_time() - start


def time_steps(paths: Sequence[Path], *, rounds: int) -> None:
    """Time each step alone, on the input that it gets in stage 2."""
    photos = [decode(path) for path in paths]
    squares = [cv2.resize(photo, (SIZE, SIZE)) for photo in photos]
    degraded, jpeg, blur, light = recipe("stage2").transforms
    nothing = A.Compose([A.NoOp(p=1.0) for _ in range(4)])
    planes = np.empty((3, SIZE, SIZE), np.uint8)
    steps: list[tuple[str, float, Callable[[int], object]]] = [
        ("decode", 1.0, lambda i: decode(paths[i])),
        ("sizes and crops", 1.0, lambda i: degraded(image=photos[i])),
        ("JPEG compression", jpeg.p, lambda i: jpeg(image=squares[i], force_apply=True)),
        ("motion blur, ours", blur.p, lambda i: blur(image=squares[i], force_apply=True)),
        ("light", light.p, lambda i: light(image=squares[i], force_apply=True)),
        ("seeding, a composition", 1.0, lambda i: apply_transform(nothing, squares[i], (0, i))),
        ("planes", 1.0, lambda i: cv2.split(squares[i], list(planes))),
        ("motion blur, stock", blur.p, lambda i: A.MotionBlur.apply(blur, squares[i], kernel=kernels[i])),
    ]
    drawing = A.MotionBlur(blur_limit=blur.blur_limit, p=1.0)
    kernels = [drawing.get_params()["kernel"] for _ in paths]
    print(f"\n{'stage 2, each step alone':26}{'us/call':>10}{'p':>6}{'us/image':>13}")
    for name, p, step in steps:
        best = [min(timed(step, i) for _ in range(rounds)) for i in range(len(paths))]
        print(f"{name:26}{1e6 * statistics.mean(best):10.0f}{p:6.2f}{1e6 * p * statistics.mean(best):13.0f}")


def draw(path: Path) -> None:
    """Draw a synthetic print: sharp, blurred by albumentations, by us, and the difference times 100."""
    nose = draw_nose(1, seed=0)
    sharp = cv2.resize(
        photograph(nose, short=200, motion=0.0, rng=np.random.default_rng(0)), (PICTURE_SIDE, PICTURE_SIDE)
    )
    ours, theirs = MotionBlur(blur_limit=(3, 27), p=1.0), A.MotionBlur(blur_limit=(3, 27), p=1.0)
    rows = []
    for seed in (1, 4, 8):
        stock, own = apply_transform(theirs, sharp, (seed,)), apply_transform(ours, sharp, (seed,))
        difference = cv2.convertScaleAbs(cv2.absdiff(stock, own), alpha=100)
        rows.append(np.hstack([sharp, stock, own, difference]))
    heading = np.full((24, rows[0].shape[1], 3), 255, np.uint8)
    for k, text in enumerate(("sharp", "albumentations", "noseprint", "difference x 100")):
        cv2.putText(
            heading, text, (PICTURE_SIDE * k + 6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA
        )
    cv2.imwrite(str(path), np.vstack([heading, *rows]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
