"""Similarity of two photographs: python example.py A.jpg B.jpg.

It needs opencv-python-headless, numpy, and onnxruntime if the folder holds model.onnx, torch if it holds model.pt,
otherwise openvino.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from read_photograph import read_photograph

HERE = Path(__file__).resolve().parent
ABOUT = json.loads((HERE / "bundle.json").read_text())

if (HERE / "model.onnx").is_file():
    import onnxruntime

    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        """Embeddings (batch, size) of images (batch, 3, side, side)."""
        return session.run(["embedding"], {"images": images})[0]
elif (HERE / "model.pt").is_file():
    import torch

    module = torch.jit.load(str(HERE / "model.pt"), map_location="cpu")

    def run(images: np.ndarray) -> np.ndarray:
        """Embeddings (batch, size) of images (batch, 3, side, side)."""
        with torch.inference_mode():
            return module(torch.from_numpy(images.copy())).numpy()
else:
    sys.modules["openvino_telemetry"] = None  # otherwise importing openvino sends a report to its makers
    import openvino

    network = openvino.Core().compile_model(HERE / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": ABOUT["precision"]})

    def run(images: np.ndarray) -> np.ndarray:
        """Embeddings (batch, size) of images (batch, 3, side, side)."""
        return network([images])[0].copy()


def read(path: str) -> np.ndarray:
    """A photograph as noseprint reads it: RGB, upright, resized to the square (3, side, side)."""
    side = ABOUT["image_size"]
    return cv2.resize(read_photograph(path), (side, side), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    a, b = (run(read(path)[None])[0] for path in sys.argv[1:])
    similarity = float(np.clip(a @ b, -1, 1))
    answer = {"similarity": similarity}
    if knots := ABOUT["calibration"]:  # the probability if half of all pairs show the same individual
        answer["probability"] = float(1 / (1 + np.exp(-np.interp(similarity, knots["similarity"], knots["log_odds"]))))
    print(json.dumps(answer))
