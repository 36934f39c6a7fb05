"""What do OpenVINO's float32, bf16 and int8 do to a trained network's scores, against torch's float32?

Prints, on the labelled photographs of a data folder: ROC AUC, mAP, Rank-1, cosines to torch's embeddings, the rank
correlation of the test pairs' similarities, and images/s with decoding. int8 is quantised by the training photographs.
bf16 is shown even where noseprint would not take it (models.runtime.LEAST_COSINE).

    python benchmarks/inference_scores.py WEIGHTS DATA
"""

import argparse
import time
from pathlib import Path

import torch
from scipy.stats import spearmanr

from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.deploy.export import quantised
from noseprint.devices import reuse_freed_memory
from noseprint.inference.evaluation import labelled_similarities, score_embeddings
from noseprint.inference.labelled_data import read_labelled_data
from noseprint.models.embed import embed_by, embedder
from noseprint.models.openvino_runtime import Runtime, compile_for_cpu, convert
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
    print(f"chosen for these weights: {auto.precision if isinstance(auto, Runtime) else 'torch'}")
    ways = {
        "torch fp32": embedder(network, device=torch.device("cpu"), engine="torch"),
        "OpenVINO f32": Runtime(compile_for_cpu(convert(network), "f32")),
        "OpenVINO bf16": Runtime(compile_for_cpu(convert(network), "bf16")),
        "OpenVINO int8": Runtime(
            compile_for_cpu(quantised(convert(network), read_train(options.data), network, seed=0), "f32")
        ),
    }
    transform = A.Resize(network.image_size, network.image_size)
    print(f"{'':14}AUC       mAP     Rank-1    cosine mean, least  rank corr.  images/s")
    for way, embed in ways.items():
        begin = time.perf_counter()
        embeddings = embed_by(embed, labelled.paths, transform=transform, workers=0)
        rate = len(embeddings) / (time.perf_counter() - begin)
        similarity = labelled_similarities(embeddings, labelled)
        if way == "torch fp32":
            whole, ranked = embeddings, similarity
        found = score_embeddings(embeddings, labelled)
        figures = [f"{cell.value:.5f}" if cell else "-      " for cell in (found.auc, found.map, found.rank_1)]
        cosine = (embeddings * whole).sum(1)
        same = spearmanr(similarity, ranked).statistic
        print(f"{way:14}{'  '.join(figures)}   {cosine.mean():.6f} {cosine.min():.6f}  {same:.6f}    {rate:6.1f}")


if __name__ == "__main__":
    main()
