"""noseprint embed."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Embed:
    """Embed all photographs in a folder, to search them with noseprint search."""

    source: tyro.conf.Positional[Path]
    """A folder of photographs, including those in folders inside it, or one photograph."""
    weights: tuple[Path, ...]
    """best.safetensors of a network. Several make an ensemble, whose cosines are the means of the networks' cosines."""
    out: Path = Path("embeddings.safetensors")
    """The gallery to write. If the command is interrupted, the same command goes on from what is embedded already."""
    dim: int | None = None
    """Refuse to write embeddings of more dimensions than this, or whose rows are not of length 1."""
    skip_bad: bool = False
    """Leave out photographs that cannot be read, and list them beside the gallery, in NAME.skipped.csv."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def __call__(self) -> None:
        """Embed and write."""
        from noseprint.data.listing import list_photographs
        from noseprint.devices import choose_device
        from noseprint.files import check_output, skipped_table
        from noseprint.inference.gallery import embed_gallery, write_gallery
        from noseprint.models.limit import check_dimensions, check_limit
        from noseprint.models.weights import load_network

        if not self.weights:
            raise NoseprintError("--weights: name at least one weights file")
        if self.dim is not None:
            check_dimensions(sum(load_network(path).embedding_size for path in self.weights), dim=self.dim)
        check_output(self.out, suffix=".safetensors", inputs=self.weights)
        folder, names = list_photographs(self.source)
        skipped = skipped_table(self.out)
        gallery = embed_gallery(
            self.weights,
            folder,
            names,
            device=choose_device(self.device),
            skip_bad=self.skip_bad,
            skipped_csv=skipped,
            keep_beside=self.out if skipped else None,
        )
        if self.dim is not None:
            check_limit(gallery.matrix, dim=self.dim)
        write_gallery(self.out, gallery)
        print(f"photographs: {len(gallery.names)}, {gallery.matrix.shape[1]} dimensions: {self.out}")
