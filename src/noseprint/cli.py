"""The command `noseprint`: what is not a step of one folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from noseprint.errors import NoseprintError
from noseprint.options import speaking

_SHOWN = 10  # queries whose answer goes to the terminal, too
MEMBERS = ("swin224_stage2", "swin384_stage2", "v2_stage2", "b7ns_stage2")


@dataclass(frozen=True)
class DemoData:
    """Draw synthetic nose prints in the challenge's layout."""

    folder: tyro.conf.Positional[Path]
    """Folder to make."""
    seed: int = 0

    def __call__(self) -> None:
        """Draw."""
        from noseprint.data.demo import write_demo

        write_demo(self.folder, seed=self.seed)


@dataclass(frozen=True)
class Check:
    """Read every table and every photograph of a data folder and say what is wrong with them, all at once.

    Exits with 1 where a training would stop (faults), with 0 where there are remarks only: one photograph under two
    identities or in two splits, photographs that seem turned, names that differ in case, files that no table names.
    """

    data: tyro.conf.Positional[Path] = Path("data")
    """Data folder, laid out as data/README.md says."""
    csv: Path | None = None
    """Write every finding there (kind, file, line, problem, other file); the terminal shows five of each kind."""

    def __call__(self) -> None:
        """Check and print."""
        from noseprint.inspection.check import check
        from noseprint.inspection.report import render, write_findings

        if not self.data.is_dir():
            raise NoseprintError(f"{self.data} is no folder: name the data folder to check")
        report = check(self.data)
        if self.csv:
            write_findings(self.csv, report)
        print(render(report, self.data))
        if report.faults:
            raise SystemExit(1)


@dataclass(frozen=True)
class Fuse:
    """Fuse the similarities of several members into one result, joined on (imageA, imageB)."""

    members: tyro.conf.Positional[tuple[Path, ...]]
    """The members' similarity.csv files."""
    pairs: Path
    """The pairs to answer, such as data/test/test_data.csv."""
    out: Path = Path("final_result.csv")
    method: Literal["mean", "rank", "calibrated"] = "mean"
    """mean of the cosines; mean of their ranks; calibrated: mean of the log-odds of their probabilities."""

    def __call__(self) -> None:
        """Fuse and write."""
        from noseprint.data.tables import read_pair_names
        from noseprint.matching.fuse import fuse, write_result
        from noseprint.matching.pairs import read_similarities

        if len({path.resolve() for path in self.members}) < len(self.members):
            raise NoseprintError(f"a member is named twice among {', '.join(map(str, self.members))}")
        pairs = read_pair_names(self.pairs)
        tables = {str(path): read_similarities(path) for path in self.members}
        write_result(self.out, pairs, fuse(tables, pairs, method=self.method))
        print(f"{len(pairs)} pairs, {self.method} of {len(tables)} members: {self.out}")


@dataclass(frozen=True)
class Evaluate:
    """Score every member and the ensemble against the labels that a data folder carries."""

    data: Path = Path("data")
    """Data folder with test/labels.csv or retrieval.csv."""
    run: str = ""
    """Name of the run whose weights are scored; "" is the full campaign's."""
    small: bool = False
    """Short for --run small."""
    members: tuple[str, ...] = MEMBERS
    """Recipe folders, below --root."""
    root: Path = Path()
    """The checkout."""
    frozen: bool = False
    """Also score each pretrained trunk before any training."""
    device: str = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks, as for infer.py."""
    json: Path | None = None
    """Write the scores there, too."""

    def __call__(self) -> None:
        """Score and print a table."""
        from noseprint.devices import choose_device
        from noseprint.evaluation.scoring import score_members, score_tables
        from noseprint.files import atomic_write

        if not self.members:
            raise NoseprintError("--members: name at least one recipe folder")
        run = self.run or ("small" if self.small else "")
        results = {name: self.root / name / "results" / run for name in self.members}
        weights = {name: folder / "best.safetensors" for name, folder in results.items()}
        tables = {name: folder / "similarity.csv" for name, folder in results.items()}
        if not any(path.is_file() for path in weights.values()) and all(path.is_file() for path in tables.values()):
            scores = score_tables(tables, self.data)  # the networks lie elsewhere: predict_ckpt.sh
        else:
            device = choose_device(self.device)
            scores = score_members(weights, self.data, device=device, frozen=self.frozen, engine=self.engine)
        print(f"{'':25}{'ROC AUC of the test pairs':28}{'mAP':28}Recall@1   (value [95 % interval over identities])")
        for name, found in scores.items():
            cells = (found.auc, found.map, found.recall_at_1)
            print(f"{name:25}" + "".join(f"{str(cell) if cell else '-':28}" for cell in cells).rstrip())
        if "ensemble" in scores:
            print("The ensemble is the mean of the members' cosines.")
        if self.json:
            with atomic_write(self.json) as part:
                part.write_text(json.dumps({name: found.to_json() for name, found in scores.items()}, indent=1) + "\n")


@dataclass(frozen=True)
class Weights:
    """Describe a weights file, ours or one of the four published in 2022, without building its network."""

    file: tyro.conf.Positional[Path]
    """A .safetensors or .pth file."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> None:
        """Describe."""
        if self.file.suffix == ".pth":
            from noseprint.models.published import describe_published as describe
        else:
            from noseprint.models.header import describe_weights as describe

        told = describe(self.file)
        if self.json:
            print(json.dumps(told, indent=1))
            return
        for name, value in told.items():
            print(f"{name.replace('_', ' '):14}{_shown(value)}")


@dataclass(frozen=True)
class Export:
    """Write weights as a folder that another program can use without noseprint: OpenVINO, preprocessing, an example."""

    weights: tyro.conf.Positional[Path]
    """A .safetensors file."""
    out: tyro.conf.Positional[Path]
    """Folder to make."""
    int8: bool = False
    """Quantise to 8 bits by the training photographs of --data, and print what that costs."""
    data: Path | None = None
    """Data folder, laid out as data/README.md says; its labels, where it has any, tell what int8 costs."""
    seed: int = 0

    def __call__(self) -> None:
        """Export."""
        if self.int8 != (self.data is not None):
            raise NoseprintError("--int8 and --data DIR go together: the photographs there tell how to quantise")
        from noseprint.deploy.export import export

        for line in export(self.weights, self.out, int8=self.data, seed=self.seed):
            print(line)
        print(f"{self.out}: python {self.out / 'example.py'} A.jpg B.jpg")


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
        from noseprint.matching.embeddings import embed_with, photographs, write_embeddings

        if not self.weights:
            raise NoseprintError("--weights: name at least one file of weights")
        check_output(self.out, suffix=".safetensors", inputs=self.weights)
        folder, names = photographs(self.source)
        embeddings = embed_with(self.weights, folder, names, device=choose_device(self.device))
        write_embeddings(self.out, embeddings)
        print(f"photographs: {len(names)}, {embeddings.matrix.shape[1]} dimensions: {self.out}")


@dataclass(frozen=True)
class Search:
    """Which individual is this: the most similar gallery images of each photograph, as a table."""

    query: tyro.conf.Positional[Path]
    """A photograph, or a folder of them."""
    gallery: Path
    """What `noseprint embed` wrote."""
    out: Path = Path("found.csv")
    """query,rank,image,similarity and, with --identities, identity."""
    top: int = 5
    """Images a query."""
    identities: Path | None = None
    """Table of the gallery's identities, as train_data.csv: dog ID,nose print image."""
    weights: tuple[Path, ...] = ()
    """The weights the gallery was embedded with, where they no longer lie where they lay."""
    index: bool = False
    """Look only where it is likely (recall@10 about 0.99), for 500,000 images and more; built beside the gallery."""
    device: str = "auto"

    def __call__(self) -> None:
        """Search and write."""
        from noseprint.devices import choose_device
        from noseprint.matching.which import which

        found = which(
            self.query,
            self.gallery,
            out=self.out,
            weights=self.weights,
            identities=self.identities,
            top=self.top,
            use_index=self.index,
            device=choose_device(self.device),
        )
        for row in [row for row in found if row[1] == 1][:_SHOWN]:
            print(f"{row[0]}: most like {', of '.join(map(str, row[2:3] + row[4:]))} ({row[3]:.3f})")
        print(f"{len(found)} rows: {self.out}")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.4f}" for name, number in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


Command = (
    Annotated[DemoData, tyro.conf.subcommand("demo-data")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Fuse, tyro.conf.subcommand("fuse")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Weights, tyro.conf.subcommand("weights")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Embed, tyro.conf.subcommand("embed")]
    | Annotated[Search, tyro.conf.subcommand("search")]
)


def main() -> None:
    """Entry point."""
    with speaking():
        tyro.cli(Command, prog="noseprint", description="Photographs to identities.")()


if __name__ == "__main__":
    main()
