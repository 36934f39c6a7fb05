"""Classify the test images with the exported network: ../results/RUN/prediction.csv. Or those in --images: --out."""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.deploy.classifier_options import ClassifierAnswerOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = ClassifierAnswerOptions(data=FAMILY / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: ClassifierAnswerOptions) -> None:
    """Write image,label,probability,decision, and print how many answers are right, if the labels are known."""
    from noseprint.data.prepared import read_prepared
    from noseprint.deploy.classifier_answers import answer_photographs
    from noseprint.errors import NoseprintError
    from noseprint.files import check_output
    from noseprint.inference.infer_classes import photographs_in
    from noseprint.tasks.student_options import finished_weights

    results = FAMILY / "results" / options.run
    out = options.out or results / "prediction.csv"
    check_output(out, suffix=".csv", inputs=())
    if options.images:
        images = photographs_in(options.images)
    else:
        prepared = read_prepared(FAMILY / "prepare" / "results" / options.run)
        images = prepared.originals("test", options.data)
        if not len(images):
            raise NoseprintError("the data have no test images; for other photographs: --images FOLDER --out FILE.csv")
    weights, _ = finished_weights(FAMILY, options.run)
    lines = answer_photographs(results / "bundle", images, out=out, weights=weights)
    print("\n".join((*lines, f"The answer is in {out}.")), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
