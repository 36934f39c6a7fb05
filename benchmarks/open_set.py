"""Which individual is it, or none of those known: are the probabilities of noseprint search right?

For each draw half of the test part's identities are known, with their gallery photographs of retrieval.csv; all query
photographs are searched for, those of the other half show nobody in the gallery. Probabilities are those of the
campaign's verifier (the ensemble), as `noseprint search --verifier` gives them; intervals over identities.

    python benchmarks/open_set.py --data DIR [--small] [--draws 100]
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from noseprint.calibration.curves import identity_probabilities
from noseprint.calibration.verifier import read_verifier, weights_of
from noseprint.data.tables import read_retrieval
from noseprint.inference.gallery import embed_with
from noseprint.metrics.bootstrap import bootstrap_mean

ROOT = Path(__file__).resolve().parent.parent
TOP = 50  # as noseprint search weighs them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--draws", type=int, default=100)
    asked = parser.parse_args()
    path = asked.root / "results" / ("small" if asked.small else "") / "verifier.json"
    verifier = read_verifier(path)
    table = read_retrieval(asked.data)
    if table is None:
        parser.error(f"{asked.data / 'retrieval.csv'} is missing: it says which photographs are the queries")
    rows = [row for row, image in enumerate(table.paths) if image.parent == asked.data / "test" / "images"]
    identity, query = np.array(table.identities)[rows], np.array(table.is_query)[rows]
    names = [table.paths[row].name for row in rows]
    weights = list(weights_of(verifier, path).values())
    x = embed_with(weights, asked.data / "test" / "images", names, device=torch.device("cpu")).matrix
    everyone = np.unique(identity)
    found = []  # whose, probability of the best, whether it is right, probability of none, whether that is right
    for draw in range(asked.draws):
        known = np.random.default_rng(draw).permutation(everyone)[: len(everyone) // 2]
        gallery = np.flatnonzero(~query & np.isin(identity, known))
        for row in np.flatnonzero(query):
            similarity = x[gallery] @ x[row]
            best = np.argsort(-similarity)[:TOP]
            whose = identity[gallery[best]]
            share, none = identity_probabilities(
                verifier.calibration.log_odds(similarity[best]), whose, individuals=len(known)
            )
            found.append((identity[row], share[0], whose[0] == identity[row], none, identity[row] not in known))
    whose, best, right, none, unknown = (np.array(column) for column in zip(*found, strict=True))
    print(f"{len(known)} of {len(everyone)} identities known; {query.sum()} queries, {asked.draws} draws")
    for what, probability, so in (("the best one is right", best, right), ("none of them", none, unknown)):
        p, share = np.clip(probability, 1e-6, 1 - 1e-6), so.mean()
        loss = -np.where(so, np.log(p), np.log1p(-p)).mean()
        knowing_that = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        print(f"\n{what}: {share:.3f} of all; log loss {loss:.3f}, {knowing_that:.3f} knowing only that")
        for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
            among = (probability >= low) & (probability < high)
            if among.any():
                between = bootstrap_mean(so[among].astype(float), whose[among], seed=0)
                print(
                    f"said {low:.1f} to {min(high, 1):.1f}: {among.mean():.3f} of the answers, "
                    f"so in {so[among].mean():.3f} [{between[0]:.3f}, {between[1]:.3f}]"
                )


if __name__ == "__main__":
    main()
