"""Run one frozen backbone, --part, over all photographs once, and keep its features: results/RUN/PART/.

backbone.safetensors has the backbone. features.safetensors has the features; `noseprint search` takes it as a gallery.
"""

from dataclasses import replace
from pathlib import Path

from model import BACKBONES, Backbone, build_model

from noseprint.command_line import run
from noseprint.data.instance_options import FrozenOptions
from noseprint.errors import NoseprintError

HERE = Path(__file__).resolve().parent
FULL = FrozenOptions(data=HERE.parent / "data", part="vit_h")
SMALL = replace(FULL, run="small", small=True, part="lite0", image_size=224)


def main(options: FrozenOptions) -> None:
    """Embed the photographs."""
    from noseprint.data.instances import read_instances
    from noseprint.devices import choose_device
    from noseprint.inference.embedding_sources import keep_features
    from noseprint.lock import lock

    known = BACKBONES.get(options.part, Backbone(options.backbone or ""))
    if not (options.backbone or known.name):
        raise NoseprintError(
            f"--part {options.part}: choose one of {', '.join(BACKBONES)}, or name a timm model with --backbone"
        )
    table = read_instances(options.data, table=options.prepared(HERE.parent))
    network = build_model(
        options.backbone or known.name,
        image_size=options.image_size,
        pooling=options.pooling or known.pooling,
        pretrained=options.pretrained,
        backbone_weights=options.backbone_weights,
    )
    results = options.results(HERE) / options.part
    with lock(results):
        kept = keep_features(
            network, results, data=options.data, names=table.names, device=choose_device(options.device)
        )
    print(f"{options.part}: {kept.matrix.shape[1]} features of {len(kept.names)} photographs", flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
