"""Are the probabilities of `noseprint search` right, for each identity and for "none of them"?

Each draw puts some random test identities into the gallery, with their gallery photographs of retrieval.csv, and
searches it for all query photographs: those of the other identities show nobody in the gallery. Queries are weighted so
that half of them show somebody in it. Probabilities are those of the campaign's verifier, as `noseprint search
--verifier` gives them. Intervals are over identities.

    python benchmarks/open_set.py --data DIR [--run small] [--sizes 10 24 40] [--draws 60]
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from noseprint.calibration.curves import identity_probabilities
from noseprint.calibration.verifier import check_weights, read_verifier
from noseprint.data.tables import read_retrieval
from noseprint.inference.gallery import embed_photographs

ROOT = Path(__file__).resolve().parent.parent
TOP = 50  # images whose identities noseprint search compares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--run", default="")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 24, 40], help="identities in the gallery")
    parser.add_argument("--draws", type=int, default=60)
    options = parser.parse_args()
    verifier = read_verifier(options.root / "results" / options.run / "verifier.json")
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
    for size in options.sizes:
        answers = []  # query's identity, probability of the best image, is it right, probability of none, is that right
        for draw in range(options.draws):
            known = np.random.default_rng(draw).permutation(np.unique(identity))[:size]
            gallery = np.flatnonzero(is_gallery & np.isin(identity, known))
            for row in np.flatnonzero(is_query):
                others = gallery[gallery != row]
                similarity = x[others] @ x[row]
                best = np.argsort(-similarity)[:TOP]
                found = identity[others[best]]
                each, none = identity_probabilities(
                    verifier.calibration.log_odds(similarity[best]),
                    found,
                    images=[int(np.sum(identity[others] == one)) for one in found],
                    gallery_identities=size,
                )
                answers.append((identity[row], each[0], found[0] == identity[row], none, identity[row] not in known))
        print(f"\n{size} of {len(np.unique(identity))} identities in the gallery; {is_query.sum()} queries")
        identities, best, right, none, unknown = (np.array(column) for column in zip(*answers, strict=True))
        weight = np.where(unknown, 0.5 / unknown.mean(), 0.5 / (~unknown).mean())
        for claim, probability, truth in (("the best one", best, right), ("none of them", none, unknown)):
            p = np.clip(probability, 1e-6, 1 - 1e-6)
            loss = -np.average(np.where(truth, np.log(p), np.log1p(-p)), weights=weight)
            print(f"{claim}: log loss {loss:.3f}")
            for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
                inside = (probability >= low) & (probability < high)
                if inside.any():
                    share, interval = _weighted(truth, weight * inside, identities)
                    print(
                        f"  probability {low:.1f} to {min(high, 1):.1f}: {np.average(inside, weights=weight):.2f} of "
                        f"the answers, true for {share:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
                    )


def _weighted(truth: np.ndarray, weight: np.ndarray, identities: np.ndarray) -> tuple[float, np.ndarray]:
    """The weighted share of true answers, and its 95 % interval from 1,000 bootstrap draws of identities."""
    _, group = np.unique(identities, return_inverse=True)
    true, total = np.bincount(group, weight * truth), np.bincount(group, weight)
    drawn = np.random.default_rng(0).multinomial(len(total), np.full(len(total), 1 / len(total)), 1000)
    with np.errstate(invalid="ignore"):
        shares = (drawn @ true) / (drawn @ total)
    return true.sum() / total.sum(), np.nanquantile(shares, [0.025, 0.975])


if __name__ == "__main__":
    main()
