"""Embed the test photographs, or those in --images, with ../results/RUN/best.safetensors."""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.data.instance_options import EmbedInstancesOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = EmbedInstancesOptions(data=FAMILY / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: EmbedInstancesOptions) -> None:
    """Write the embeddings and, of the test, what each query finds."""
    from noseprint.data.instances import read_instances
    from noseprint.data.listing import list_photographs
    from noseprint.devices import choose_device
    from noseprint.errors import NoseprintError
    from noseprint.files import check_output
    from noseprint.inference.instance_answers import embed_instances, write_answers

    results = options.results(FAMILY)
    weights = results / "best.safetensors"
    device = choose_device(options.device)
    if options.images and options.out:
        check_output(options.out, suffix=".safetensors", inputs=[weights])
        folder, names = list_photographs(options.images)
        found = embed_instances(weights, folder, names, options=options, device=device, out=options.out)
        print(f"{len(found.names)} photographs, {found.matrix.shape[1]} dimensions: {options.out}")
        return
    test = read_instances(options.data, table=options.prepared(FAMILY)).part("test")
    if not len(test):
        raise NoseprintError("the table has no part test: name photographs with --images FOLDER --out FILE.safetensors")
    out = results / "test.safetensors"
    found = embed_instances(weights, options.data, test.names, options=options, device=device, out=out)
    print("\n".join(write_answers(results / "prediction.csv", found, test)))


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
