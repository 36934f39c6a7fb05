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
    """The gallery to write."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def __call__(self) -> None:
        """Embed and write."""
        from noseprint.devices import choose_device
        from noseprint.files import check_output
        from noseprint.inference.gallery import embed_gallery, list_photographs, write_gallery

        if not self.weights:
            raise NoseprintError("--weights: name at least one weights file")
        check_output(self.out, suffix=".safetensors", inputs=self.weights)
        folder, names = list_photographs(self.source)
        gallery = embed_gallery(self.weights, folder, names, device=choose_device(self.device))
        write_gallery(self.out, gallery)
        print(f"photographs: {len(names)}, {gallery.matrix.shape[1]} dimensions: {self.out}")
