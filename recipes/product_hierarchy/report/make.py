"""Write the report of a run: ../results/RUN/report.html, and its figures as scores.json."""

import json
from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.inference.hierarchy_options import HierarchyRunOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = HierarchyRunOptions(data=FAMILY / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: HierarchyRunOptions) -> None:
    """Score the answers, show the tree with its errors, and print the figures."""
    from noseprint.files import atomic_write
    from noseprint.inference.hierarchy_answers import TEST
    from noseprint.inference.selection import HOLDOUT
    from noseprint.reporting.tree_page import read_tree_run, render_tree_report, tree_score_lines, tree_scores_json

    results = options.results(FAMILY)
    found = read_tree_run(
        options,
        family=FAMILY,
        test=options.results(FAMILY / "predict") / TEST,
        holdout=options.results(FAMILY / "select") / HOLDOUT,
        lr_range=results / "lr_range.png",
    )
    print("\n".join(tree_score_lines(found)))
    with atomic_write(results / "scores.json") as part:
        part.write_text(json.dumps(tree_scores_json(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = results / "report.html"
    with atomic_write(page) as part:
        part.write_text(render_tree_report(found), encoding="utf-8")
    print(f"Report written; open it in a browser: {page}")


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
