"""noseprint embed."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Embed:
    """Embed every photograph of a folder, to be searched by `noseprint search`."""

    source: tyro.conf.Positional[Path]
    """A folder of photographs (those in its folders, too), or one photograph."""
    weights: tuple[Path, ...]
    """best.safetensors of a network; several make an ensemble, whose cosines are the means of theirs."""
    out: Path = Path("embeddings.safetensors")
    device: str = "auto"

    def __call__(self) -> None:
        """Embed and write."""
        from noseprint.devices import choose_device
        from noseprint.files import check_output
        from noseprint.inference.gallery import embed_with, photographs, write_embeddings

        if not self.weights:
            raise NoseprintError("--weights: name at least one file of weights")
        check_output(self.out, suffix=".safetensors", inputs=self.weights)
        folder, names = photographs(self.source)
        embeddings = embed_with(self.weights, folder, names, device=choose_device(self.device))
        write_embeddings(self.out, embeddings)
        print(f"photographs: {len(names)}, {embeddings.matrix.shape[1]} dimensions: {self.out}")
