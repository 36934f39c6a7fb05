"""Export the network for other programs as ../results/RUN/bundle, in the precision that the hold-out allows.

For measure.sh, results/RUN/NETWORK-SIZE holds the models of the network that has not seen the hold-out.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.deploy.classifier_options import ClassifierExportOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = ClassifierExportOptions(data=FAMILY / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: ClassifierExportOptions) -> None:
    """Export the finished network, or else the student; results/RUN/precisions.csv compares the precisions."""
    from noseprint.data.prepared import read_prepared
    from noseprint.deploy.classifier_export import export_classifier, export_models, write_precisions
    from noseprint.inference.out_of_fold import require_unseen
    from noseprint.lock import lock
    from noseprint.models.backbone import has_fixed_size
    from noseprint.models.weights_header import read_header
    from noseprint.tasks.student_options import finished_weights

    results = HERE / "results" / options.run
    weights, proof = finished_weights(FAMILY, options.run)
    header = read_header(proof)
    prepared = read_prepared(FAMILY / "prepare" / "results" / options.run)
    require_unseen(proof, prepared.split("val"))
    with lock(results):
        (results / "precisions.csv").unlink(missing_ok=True)  # written last: measure.sh needs it
        exported = export_classifier(
            weights,
            FAMILY / "results" / options.run / "bundle",
            proof=proof,
            train=prepared.split("train"),
            holdout=prepared.originals("val", options.data),
            image_size=options.size,
            precision=None if options.precision == "auto" else options.precision,
            most_loss=options.most_loss,
            right=options.right,
            seed=options.seed,
            skip_bad=options.skip_bad,
        )
        for earlier in filter(Path.is_dir, results.iterdir()):  # models of another size or training
            shutil.rmtree(earlier)
        network = header.backbone.partition(".")[0]
        for size in options.measured_sizes(header.image_size, fixed=has_fixed_size(header.backbone)):
            folder = results / f"{network}-{size}"
            export_models(proof, folder, image_size=size, train=prepared.split("train"), seed=options.seed)
        write_precisions(results / "precisions.csv", exported)
    print("\n".join(exported.lines), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
