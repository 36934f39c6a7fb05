"""Choose, on the hold-out, which weights answer together: ../results/RUN/selection.json.

Candidates are the averaged weights of each member, its snapshots, and soups: means of the weights of its snapshots.
"""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.inference.hierarchy_options import SelectOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = SelectOptions(data=FAMILY / "data", members="resnet50,resnet101,resnet152,densenet161,seresnext50")
SMALL = replace(FULL, run="small", small=True, members="lite0,lite1,lite2")


def main(options: SelectOptions) -> None:
    """Score the candidates, and print which of them were chosen and why."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it

    from noseprint.data.class_tables import hold_out
    from noseprint.data.class_tree import read_tree
    from noseprint.data.filtered import read_filtered
    from noseprint.devices import choose_device
    from noseprint.inference.selection import HeldOut, member_folders, select_networks

    table = read_filtered(options.data, options.results(FAMILY / "filter"))
    members, share = member_folders(options.results(FAMILY / "members"), options.member_names)
    held_out = HeldOut(
        images=hold_out(table, share)[1],
        transform=dataset.evaluation_transform,
        device=choose_device(options.device),
        workers=options.workers,
        cache=options.results(HERE) / "outputs",
    )
    tree = read_tree(table, data=options.data, tree=options.tree, levels=options.level_names)
    selection = select_networks(members, held_out, family=FAMILY, run=options.run, tree=tree, right=options.right)
    print("\n".join((*selection.lines, f"Together: {selection.top_1} right.", selection.promise)), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
