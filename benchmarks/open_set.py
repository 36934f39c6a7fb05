"""Are the probabilities of `noseprint search` right, for each identity and for "none of them"?

Each draw puts a random half of the test identities into the gallery, with their gallery photographs of retrieval.csv,
and searches it for all query photographs: those of the other half show nobody in the gallery. Probabilities are those
of the campaign's verifier, as `noseprint search --verifier` gives them. Intervals are over identities.

    python benchmarks/open_set.py --data DIR [--small] [--draws 100]
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from noseprint.calibration.curves import identity_probabilities
from noseprint.calibration.verifier import check_weights, read_verifier
from noseprint.data.tables import read_retrieval
from noseprint.inference.gallery import embed_photographs
from noseprint.metrics.bootstrap import bootstrap_mean

ROOT = Path(__file__).resolve().parent.parent
TOP = 50  # images whose identities noseprint search compares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    verifier = read_verifier(options.root / "results" / ("small" if options.small else "") / "verifier.json")
    check_weights(verifier)
    table = read_retrieval(options.data)
    if table is None:
        parser.error(f"{options.data / 'retrieval.csv'} is missing: it says which photographs are the queries")
    folder = options.data / "test" / "images"
    rows = [row for row, image in enumerate(table.paths) if image.parent == folder]
    identity = np.array(table.identities)[rows]
    is_query, is_gallery = np.array(table.is_query)[rows], np.array(table.is_gallery)[rows]
    names = [table.paths[row].name for row in rows]
    weights = [member.weights for member in verifier.members]
    x = embed_photographs(weights, folder, names, device=torch.device("cpu"))
    everyone = np.unique(identity)
    answers = []  # query's identity, probability of the best image, is it right, probability of none, is that right
    for draw in range(options.draws):
        known = np.random.default_rng(draw).permutation(everyone)[: len(everyone) // 2]
        gallery = np.flatnonzero(is_gallery & np.isin(identity, known))
        for row in np.flatnonzero(is_query):
            others = gallery[gallery != row]
            similarity = x[others] @ x[row]
            best = np.argsort(-similarity)[:TOP]
            found = identity[others[best]]
            log_odds = verifier.calibration.log_odds(similarity[best])
            images = [int(np.sum(identity[others] == one)) for one in found]
            each, none = identity_probabilities(log_odds, found, images=images, gallery_identities=len(known))
            answers.append((identity[row], each[0], found[0] == identity[row], none, identity[row] not in known))
    identities, best, right, none, unknown = (np.array(column) for column in zip(*answers, strict=True))
    print(f"{len(known)} of {len(everyone)} identities in the gallery; {is_query.sum()} queries, {options.draws} draws")
    for claim, probability, truth in (("the best one is right", best, right), ("none of them", none, unknown)):
        p, share = np.clip(probability, 1e-6, 1 - 1e-6), truth.mean()
        loss = -np.where(truth, np.log(p), np.log1p(-p)).mean()
        constant = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        print(f"\n{claim}: true for {share:.3f} of all; log loss {loss:.3f}, that of a constant {constant:.3f}")
        for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
            inside = (probability >= low) & (probability < high)
            if inside.any():
                interval = bootstrap_mean(truth[inside].astype(float), identities[inside], seed=0)
                print(
                    f"probability {low:.1f} to {min(high, 1):.1f}: {inside.mean():.3f} of the answers, "
                    f"true for {truth[inside].mean():.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
                )


if __name__ == "__main__":
    main()
