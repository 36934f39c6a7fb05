"""Choose, on the hold-out, the embedding of at most --dim dimensions: ../results/RUN/best.safetensors and scores.csv.

Candidates are the frozen backbones of ../frozen and the trained ones of ../head, ../phases and ../large, each alone and
joined, under PCA, learned whitening and the heads that were trained.
"""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.data.instance_options import ReduceOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = ReduceOptions(data=FAMILY / "data", parts="vit_h")
SMALL = replace(FULL, run="small", small=True, parts="lite0,lite1,lite2")


def main(options: ReduceOptions) -> None:
    """Score the candidates, take one of them, and say where it is worse than no training."""
    from noseprint.data.instances import read_instances
    from noseprint.devices import choose_device
    from noseprint.inference.embedding_choice import choose, find_candidates, judge
    from noseprint.inference.embedding_results import choice_lines, write_choice
    from noseprint.inference.embedding_sources import find_sources

    table = read_instances(options.data, table=options.prepared(FAMILY))
    found = tuple(
        find_sources(
            FAMILY,
            table,
            run=options.run,
            parts=options.part_names,
            stages=options.stage_names,
            data=options.data,
            device=choose_device(options.device),
        )
    )
    if len(sizes := sorted({source.size for source in found})) > 1:
        of_size = (f"{size} px: {', '.join(one.name for one in found if one.size == size)}" for size in sizes)
        print("Only backbones of one input size are joined:", "; ".join(of_size), flush=True)
    candidates = find_candidates(found, table, dim=options.dim)
    judged = []
    for candidate in candidates:
        judged.append(judge(candidate, table))
        print(f"held-out mAP {judged[-1].value:.3f}: {candidate.name}", flush=True)
    choice = choose(judged, table, dim=options.dim, take=options.take)
    write_choice(options.results(FAMILY), choice, table, data=options.data)
    print("\n".join(choice_lines(choice)), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
