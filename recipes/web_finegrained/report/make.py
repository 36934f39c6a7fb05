"""Write the report of a run: ../results/report.html, and its figures as scores.json."""

import json
from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.reporting.class_report_options import ReportOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
OTHERS = ("distil", "fusion")
"""Networks that are also scored; they are members of the ensemble only if --members names them."""


def main(options: ReportOptions) -> None:
    """Score the members and the answers, show what cleaning changed, and print a short table."""
    from noseprint.files import atomic_write
    from noseprint.reporting.class_page import class_score_lines, class_scores_json, render_class_report
    from noseprint.reporting.class_run import read_class_run

    found = read_class_run(options, family=FAMILY, others=OTHERS)
    for line in class_score_lines(found):
        print(line)
    results = options.results(FAMILY)
    with atomic_write(results / "scores.json") as part:
        part.write_text(json.dumps(class_scores_json(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = results / "report.html"
    with atomic_write(page) as part:
        part.write_text(render_class_report(found), encoding="utf-8")
    print(f"Report written; open it in a browser: {page}")


if __name__ == "__main__":
    full = ReportOptions(data=FAMILY / "data")
    run(main, full=full, small=replace(full, run="small", small=True))
