"""Where the files of a campaign lie: the options of every command that works on one."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

from noseprint.command_line import check_run_name
from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Campaign:
    """The networks of one run and the data they are asked about."""

    data: Path = Path("data")
    """Data folder, laid out as data/README.md says."""
    run: str = ""
    """Name of the run; "" is the full campaign's."""
    small: bool = False
    """Short for --run small."""
    members: tuple[str, ...] = ()
    """Recipe folders, below --root. None: the second stage of each network in its members.txt."""
    root: Path = Path()
    """The checkout."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be."""
        check_run_name(self.run)
        if self.run and self.small:
            raise NoseprintError(f"--run {self.run} and --small name two runs: leave one out")
        if not self.members:
            object.__setattr__(self, "members", _second_stages(self.root))
        for member in self.members:
            if self.members.count(member) > 1:
                raise NoseprintError(f"--members: {member} stands there twice")
            if "/" in member or not (self.root / member).is_dir():
                raise NoseprintError(f"--members: {self.root} has no recipe folder {member}")

    @property
    def name(self) -> str:
        """The run's name, "" for the full campaign's."""
        return self.run or ("small" if self.small else "")

    @cached_property
    def weights(self) -> dict[str, Path]:
        """Each member's weights, which may be missing.

        Raises NoseprintError where they are those of another recipe, or of two members the same.
        """
        from noseprint.models.weights_header import fingerprint, read_header, require_recipe

        found = {member: self.of(member) / "best.safetensors" for member in self.members}
        there = {member: path for member, path in found.items() if path.is_file()}
        for member, path in there.items():
            try:
                header = read_header(path)
            except NoseprintError:  # for whoever loads them to tell
                continue
            require_recipe(path, header, member)
        for (_, one), (member, other) in combinations(there.items(), 2):
            if one.stat().st_size == other.stat().st_size and fingerprint(one) == fingerprint(other):
                raise NoseprintError(f"{other}: these are the weights of {one}; train {member}, or leave it out")
        return found

    @property
    def similarities(self) -> dict[str, Path]:
        """Each member's similarities of the test pairs."""
        return {member: self.of(member) / "similarity.csv" for member in self.members}

    @property
    def results(self) -> Path:
        """Where what concerns all members goes."""
        return self.root / "results" / self.name

    def of(self, folder: str) -> Path:
        """The results of one recipe folder."""
        return self.root / folder / "results" / self.name


def _second_stages(root: Path) -> tuple[str, ...]:
    try:
        lines = (root / "members.txt").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NoseprintError(f"--root {root}: has no members.txt; name the checkout, or use --members") from error
    return tuple(f"{line}_stage2" for line in lines if line and not line.startswith("#"))
