"""Similarity of two photographs: python example.py A.jpg B.jpg (needs openvino, opencv-python-headless, numpy)."""

import json
import sys
from pathlib import Path

sys.modules["openvino_telemetry"] = None  # otherwise importing openvino sends a report to its makers

import cv2
import numpy as np
import openvino

HERE = Path(__file__).resolve().parent
ABOUT = json.loads((HERE / "bundle.json").read_text())
NETWORK = openvino.Core().compile_model(HERE / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": ABOUT["precision"]})


def embed(path: str) -> np.ndarray:
    """The embedding of a photograph: a vector of length 1."""
    image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SystemExit(f"{path}: not a photograph that OpenCV can read")
    image = cv2.resize(image, (ABOUT["image_size"], ABOUT["image_size"]), interpolation=cv2.INTER_LINEAR)
    return NETWORK([image.transpose(2, 0, 1)[None]])[0][0].copy()


if __name__ == "__main__":
    similarity = float(embed(sys.argv[1]) @ embed(sys.argv[2]))
    answer = {"similarity": similarity}
    if knots := ABOUT["calibration"]:  # the probability if half of all pairs show the same individual
        answer["probability"] = float(1 / (1 + np.exp(-np.interp(similarity, knots["similarity"], knots["log_odds"]))))
    print(json.dumps(answer))
