"""The command line program `noseprint`."""

from typing import Annotated

import tyro

from noseprint.command_line import friendly_errors, keep_stdout_for_data, plain_refusals
from noseprint.commands.benchmark import Benchmark
from noseprint.commands.calibrate import Calibrate
from noseprint.commands.check import Check
from noseprint.commands.demo_data import DemoData
from noseprint.commands.embed import Embed
from noseprint.commands.evaluate import Evaluate
from noseprint.commands.export import Export
from noseprint.commands.fuse import Fuse
from noseprint.commands.import_photographs import Import
from noseprint.commands.labels import Labels
from noseprint.commands.report import Report
from noseprint.commands.search import Search
from noseprint.commands.verify import Verify
from noseprint.commands.weights import Weights

Command = (
    Annotated[DemoData, tyro.conf.subcommand("demo-data")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Fuse, tyro.conf.subcommand("fuse")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Calibrate, tyro.conf.subcommand("calibrate")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Weights, tyro.conf.subcommand("weights")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
    | Annotated[Embed, tyro.conf.subcommand("embed")]
    | Annotated[Labels, tyro.conf.subcommand("labels")]
    | Annotated[Search, tyro.conf.subcommand("search")]
)


def main() -> None:
    """Run the command that the command line names."""
    with friendly_errors():
        with plain_refusals():
            command = tyro.cli(Command, prog="noseprint", description="Turn photographs into identities.")
        with keep_stdout_for_data(command):
            command()


if __name__ == "__main__":
    main()
