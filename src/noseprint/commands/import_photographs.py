"""noseprint import."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Import:
    """Make a data folder, as train.sh and predict.sh read it, of your own photographs: they are copied, never changed.

    Individuals are divided among training, pseudo-labels and test; no individual is in two of them.
    """

    source: tyro.conf.Positional[Path]
    """A folder with a folder of photographs for each individual, or a table (.csv, .tsv) of photograph and identity."""
    target: tyro.conf.Positional[Path]
    """Data folder to make."""
    image_column: str | None = None
    """The table's column of paths. None: guessed by its name."""
    identity_column: str | None = None
    """The table's column of identities. None: guessed by its name."""
    encounter_column: str | None = None
    """The table's column that says on which occasion a photograph was taken. None: guessed by its name, or none."""
    images: Path | None = None
    """Where the table's paths begin. None: the table's own folder."""
    encounter_folders: bool = False
    """The folders inside an individual's folder are its encounters: days, visits."""
    test: float = 0.2
    """Share of the individuals that test, at least 2 individuals."""
    validation: float = 0.1
    """Share of the individuals whose photographs are treated as unlabelled, for pseudo-labels; at least 2."""
    pairs: int = 6000
    """Pairs of a split at most, half of them the same individual."""
    seed: int = 0
    """What decides who is in which part, and the pairs."""
    link: bool = False
    """Hard links in place of copies: no disk space, but an edit of the photograph is one of both."""
    skip_bad: bool = False
    """Leave out what is broken or no photograph, and list it in skipped.csv."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be."""
        for name, share in (("test", self.test), ("validation", self.validation)):
            if not 0 <= share < 1:
                raise NoseprintError(f"--{name} {share}: must be in 0..1, a share of the individuals")
        if self.pairs < 2 or self.seed < 0:
            raise NoseprintError(f"--pairs {self.pairs} --seed {self.seed}: at least 2 pairs, and a seed of at least 0")

    def __call__(self) -> None:
        """Read, divide, copy."""
        from noseprint.data.import_sources import read_photo_folders, read_photo_table
        from noseprint.data.importing import import_photographs, similar_identities

        if self.source.is_dir():
            if self.target.resolve().is_relative_to(self.source.resolve()):
                raise NoseprintError(f"{self.target} lies inside {self.source}: name a folder elsewhere")
            source = read_photo_folders(self.source, encounters=self.encounter_folders)
        elif self.source.is_file():
            source = read_photo_table(
                self.source,
                images=self.images or self.source.parent,
                image_column=self.image_column,
                identity_column=self.identity_column,
                encounter_column=self.encounter_column,
            )
        else:
            raise NoseprintError(f"{self.source}: no such folder or table")
        print(f"{self.source}: {len(source.photographs)} files to check; {source.description}", flush=True)
        for names in similar_identities(source.photographs):
            print(f"Note: {' and '.join(map(repr, names))} are taken for different individuals")
        done = import_photographs(
            source,
            self.target,
            validation=self.validation,
            test=self.test,
            pairs=self.pairs,
            seed=self.seed,
            link=self.link,
            skip_bad=self.skip_bad,
        )
        print(f"{'':12}{'individuals':>12}{'photographs':>12}{'pairs':>7}")
        for split, individuals, photographs, pairs in done.splits:
            print(f"{split:12}{individuals:12}{photographs:12}{pairs or '-':>7}")
        if done.unusable or done.copies:
            listed = self.target / "skipped.csv"
            print(f"Left out, as listed in {listed} (cannot be used: {done.unusable}, copies: {done.copies})")
        print(f"Next: bash train.sh --check --data {self.target}")
