"""Classify images by the members' logits: ../results/RUN/prediction.csv, or --out FILE for those in --images."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.inference.predict_options import PredictOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = PredictOptions(data=FAMILY / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: PredictOptions) -> None:
    """Write image,label,probability, and say how the answers were made."""
    from noseprint.cleaning.label_files import cleaned_table
    from noseprint.files import check_output, skipped_table
    from noseprint.inference.class_answers import answer_classes, read_members, require_images, write_answers

    results = FAMILY / "results" / options.run
    out = options.out or results / "prediction.csv"
    check_output(out, suffix=".csv", inputs=())
    kind = "images" if options.images else "test"
    folders = options.member_names
    skipped = FAMILY / folders[0] / "results" / options.run / f"{kind}.skipped.csv"
    names = ("fusion",) if options.method == "fusion" else folders
    members = read_members(FAMILY, names, run=options.run, kind=kind)
    table = cleaned_table(options.data, columns=options.columns, labels=options.cleaned_labels(results))
    test = table.split("test")
    if not options.images:
        require_images(members, test.names, some_skipped=skipped.is_file())
    answers = answer_classes(
        members,
        read_members(FAMILY, names, run=options.run, kind="holdout"),
        held_out=dict(zip(table.names, table.labels, strict=True)),
        known={} if options.images else dict(zip(test.names, test.labels, strict=True)),
        counts=Counter(table.split("train").labels),
        method=options.method,
        capacity=options.capacity,
        prior=options.prior,
    )
    write_answers(out, answers)
    if skipped.is_file() and (beside := skipped_table(out)):
        shutil.copyfile(skipped, beside)
        print(f"{beside} lists the photographs that cannot be read: they have no answer.")
    print("\n".join((*answers.lines, f"The answer is in {out}.")), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
