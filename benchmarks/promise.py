"""Do the thresholds of `noseprint verify` keep their false match rates among other individuals?

Each draw takes some random test identities as the hold-out, chooses thresholds from them and the verifier's cohort as
`noseprint calibrate` does, and counts false matches among all pairs of the other test identities. The networks were
trained on none of them. Columns: how many draws offer the rate; the share of these with a higher FMR than promised; the
share whose 95 % interval, over the other identities, begins above the promise (these identities are few, too); the mean
FMR divided by the promise; and the mean TMR.

    python benchmarks/promise.py --data DIR [--run small] [--identities 8 16 24] [--draws 100]
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from noseprint.calibration.holdout_pairs import read_photographs
from noseprint.calibration.operating_points import choose_operating_points
from noseprint.calibration.verifier import check_weights, read_verifier
from noseprint.data.tables import read_retrieval
from noseprint.inference.gallery import embed_photographs

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--run", default="")
    parser.add_argument("--identities", type=int, nargs="+", default=[8, 16, 24], help="in the hold-out")
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    verifier = read_verifier(options.root / "results" / options.run / "verifier.json")
    check_weights(verifier)
    weights = {member.name: member.weights for member in verifier.members}
    table = read_retrieval(options.data)
    if table is None:
        parser.error(f"{options.data / 'retrieval.csv'} is missing: it says who is on the test photographs")
    test = table.where(options.data / "test" in path.parents for path in table.paths)
    _, cohort = read_photographs(weights, options.data, share=verifier.holdout.share)
    names = [path.relative_to(options.data).as_posix() for path in (*test.paths, *cohort.paths)]
    x = embed_photographs(list(weights.values()), options.data, names, device=torch.device("cpu"))
    print_table(x, np.array(test.identities), np.array(cohort.identities), options.identities, options.draws)


def print_table(x: np.ndarray, test: np.ndarray, cohort: np.ndarray, sizes: list[int], draws: int) -> None:
    """x: (N + C, D) embeddings of test and cohort photographs; test (N,), cohort (C,): their identities."""
    print("hold-out  promised  draws offered  above  interval above  mean FMR / promised  mean TMR")
    for size in sizes:
        found: dict[float, list[tuple[bool, bool, float, float]]] = {0.1: [], 0.01: [], 0.001: []}
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            held_out = np.isin(test, rng.permutation(np.unique(test))[:size])
            h = np.flatnonzero(held_out)
            rows = np.concatenate([h, np.arange(len(test), len(x))])
            label = np.unique(np.char.add("cohort ", cohort), return_inverse=True)[1] + size
            label = np.concatenate([np.unique(test[h], return_inverse=True)[1], label])
            similarity, same, a, b = _pairs(x[rows], label, len(h))
            points = choose_operating_points(similarity, same, a, b)
            others = np.unique(test[~held_out], return_inverse=True)[1]
            similarity, same, a, b = _pairs(x[: len(test)][~held_out], others, len(others))
            for point in points:
                accepted = similarity >= point.threshold
                fmr, low = _rate(accepted[~same], a[~same], b[~same], rng)
                of_point = (fmr > point.fmr, low > point.fmr, fmr / point.fmr, accepted[same].mean())
                found.setdefault(point.fmr, []).append(of_point)
        for rate, values in found.items():
            line = f"{size:8}  {rate:8g}  {len(values):13}"
            if values:
                above, clearly, ratio, tmr = np.mean(values, axis=0)
                line += f"  {above:5.3f}  {clearly:14.3f}  {ratio:19.2f}  {tmr:8.2f}"
            print(line, flush=True)


def _pairs(x: np.ndarray, label: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Similarity, sameness and identities of all pairs that include one of the first rows."""
    i, j = np.triu_indices(len(x), 1)
    i, j = i[i < first], j[i < first]
    return (x @ x.T)[i, j].astype(np.float32), label[i] == label[j], label[i], label[j]


def _rate(accepted: np.ndarray, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The share of accepted pairs, and the lower end of its 95 % interval from a bootstrap over identities."""
    n = int(max(a.max(), b.max())) + 1
    reached, total = (np.bincount(a * n + b, w, minlength=n * n).reshape(n, n) for w in (accepted, np.ones(len(a))))
    times = rng.multinomial(n, np.full(n, 1 / n), 1000).astype(float)
    rates = ((times @ reached) * times).sum(1) / ((times @ total) * times).sum(1)
    return float(accepted.mean()), float(np.quantile(rates, 0.025))


if __name__ == "__main__":
    main()
