"""How do OpenVINO's float32, bf16 and int8 change a trained network's scores, compared with torch's float32?

Prints for the labelled photographs of a data folder: ROC AUC, mAP, Rank-1, cosines to torch's embeddings, the rank
correlation of the test pairs' similarities, and images/s including decoding. The training photographs calibrate int8.
bf16 is measured even where noseprint would not use it (models.openvino_runtime.MIN_COSINE).

    python benchmarks/inference_scores.py WEIGHTS DATA
"""

import argparse
import time
from pathlib import Path

import torch
from scipy.stats import spearmanr

from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.deploy.export import quantise
from noseprint.devices import reuse_freed_memory
from noseprint.inference.evaluation import labelled_similarities, score_embeddings
from noseprint.inference.labelled_data import read_labelled_data
from noseprint.models.embed import embed_with, embedder
from noseprint.models.openvino_runtime import CompiledNetwork, compile_model, convert
from noseprint.models.weights import load_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    reuse_freed_memory()
    network, labelled = load_network(options.weights), read_labelled_data(options.data)
    if labelled.pairs is None:
        parser.error("the data folder has no labelled test pairs")
    auto = embedder(network, device=torch.device("cpu"), engine="auto")
    print(f"chosen for these weights: {auto.precision if isinstance(auto, CompiledNetwork) else 'torch'}")
    int8 = quantise(convert(network), read_train(options.data), network, seed=0)
    ways = {
        "torch fp32": embedder(network, device=torch.device("cpu"), engine="torch"),
        "OpenVINO f32": compile_model(convert(network), "f32"),
        "OpenVINO bf16": compile_model(convert(network), "bf16"),
        "OpenVINO int8": compile_model(int8, "f32"),
    }
    transform = A.Resize(network.image_size, network.image_size)
    print(f"{'':14}AUC       mAP     Rank-1    cosine mean, least  rank corr.  images/s")
    for way, embed in ways.items():
        begin = time.perf_counter()
        embeddings = embed_with(embed, labelled.paths, transform=transform, workers=0)
        rate = len(embeddings) / (time.perf_counter() - begin)
        similarity = labelled_similarities(embeddings, labelled)
        if way == "torch fp32":
            reference, reference_similarity = embeddings, similarity
        scores = score_embeddings(embeddings, labelled)
        figures = [f"{cell.value:.5f}" if cell else "-      " for cell in (scores.auc, scores.map, scores.rank_1)]
        cosine = (embeddings * reference).sum(1)
        correlation = spearmanr(similarity, reference_similarity).statistic
        print(
            f"{way:14}{'  '.join(figures)}   {cosine.mean():.6f} {cosine.min():.6f}  {correlation:.6f}    {rate:6.1f}"
        )


if __name__ == "__main__":
    main()
