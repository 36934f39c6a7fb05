"""Classes of photographs: python example.py A.jpg B.jpg, or python example.py --check.

It needs opencv-python-headless, numpy, and openvino or (for model.onnx) onnxruntime. It prints a line for each
photograph, separated by tabs: file, class, probability, and "cannot tell" where the probability is too low. --check
classifies the photographs in fixture/, and fails if an answer is not the expected one.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent


@contextmanager
def needs(*names: str) -> Iterator[None]:
    """Exit with one line if files of this folder are missing or damaged."""
    if missing := [name for name in names if not (HERE / name).is_file()]:
        raise SystemExit(f"{HERE}: {missing[0]} is missing: copy the whole folder again")
    try:
        yield
    except Exception as error:  # runtimes raise anything
        reason = (str(error).strip() or repr(error)).splitlines()[-1]
        raise SystemExit(f"{HERE}: {' or '.join(names)} is damaged ({reason}): copy the whole folder again") from None


with needs("read_photograph.py", "image_headers.py", "opencv_image.py"):
    from read_photograph import read_photograph

with needs("bundle.json"):
    ABOUT = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))
    CLASSES, PRECISION, THRESHOLD = list(ABOUT["classes"]), ABOUT["precision"], float(ABOUT["threshold"] or 0)

if importlib.util.find_spec("openvino"):
    sys.modules["openvino_telemetry"] = None  # otherwise importing openvino sends a report to its makers
    import openvino

    core = openvino.Core()
    bf16 = PRECISION == "bf16" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    with needs("model.xml", "model.bin"):
        network = core.compile_model(HERE / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"})

    def run(image: np.ndarray) -> np.ndarray:
        """Probabilities (classes,) of an image (H, W, 3)."""
        return network([image[None]])[0][0].copy()
else:
    import onnxruntime

    with needs("model.onnx"):
        session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> np.ndarray:
        """Probabilities (classes,) of an image (H, W, 3)."""
        return session.run(["probability"], {"image": image[None]})[0][0]


def read(path: str) -> np.ndarray:
    """An image (H, W, 3) uint8 RGB, of any size: the network cuts and resizes it."""
    if not path.endswith(".ppm"):
        return read_photograph(path)
    image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SystemExit(f"{path}: cannot be read")
    return image


def answer(path: str) -> tuple[str, float]:
    """The most probable class, and its probability."""
    probabilities = run(read(path))
    best = int(probabilities.argmax())
    return CLASSES[best], float(probabilities[best])


def check() -> int:
    """Compare the answers to fixture/ with the expected ones: 0 if they agree, otherwise 1."""
    with needs("fixture/expected.json"):
        expected = json.loads((HERE / "fixture" / "expected.json").read_text(encoding="utf-8"))
        answers = [(str(name), label, float(probability)) for name, label, probability in expected["answers"]]
        tolerance = float(expected["tolerance"])
    wrong = 0
    for name, label, probability in answers:
        found, p = answer(str(HERE / "fixture" / name))
        if found != label or not abs(p - probability) <= tolerance:
            print(f"{name}\t{found}\t{p:.4f}\texpected: {label} {probability:.4f}")
            wrong += 1
    print(f"{len(answers) - wrong} of {len(answers)} answers are as expected")
    return int(wrong > 0 or not answers)


def main(paths: list[str]) -> int:
    """Print a line for each photograph; 1 if one cannot be read."""
    status = 0
    for path in paths:
        try:
            label, p = answer(path)
        except SystemExit as problem:
            print(problem, file=sys.stderr)
            status = 1
            continue
        print(f"{path}\t{label}\t{p:.4f}" + ("\tcannot tell" if p < THRESHOLD else ""))
    return status


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    sys.exit(check() if sys.argv[1:] == ["--check"] else main(sys.argv[1:]))
