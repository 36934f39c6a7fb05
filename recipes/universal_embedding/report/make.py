"""Write the report of a run: ../results/RUN/report.html."""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.data.instance_options import InstanceRunOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = InstanceRunOptions(data=FAMILY / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: InstanceRunOptions) -> None:
    """Show the scores, where training lost, and the worst searches."""
    from noseprint.data.instances import read_instances
    from noseprint.files import atomic_write
    from noseprint.inference.gallery import read_gallery
    from noseprint.reporting.instance_page import read_instance_run, render_instance_report

    results = options.results(FAMILY)
    table = read_instances(options.data, table=options.prepared(FAMILY), missing_ok=True)
    found = read_instance_run(
        results,
        table,
        read_gallery(results / "embeddings.safetensors"),
        run=options.run,
        data=options.data.resolve().name,
    )
    page = results / "report.html"
    with atomic_write(page) as part:
        part.write_text(render_instance_report(found), encoding="utf-8")
    print(f"Report written; open it in a browser: {page}")


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
