"""The options of all commands that work on a campaign: the networks of one run of train.sh."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

from noseprint.command_line import check_run_name
from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Campaign:
    """The networks of one run, and the data folder."""

    data: Path = Path("data")
    """Data folder, in the layout of data/README.md."""
    run: str = ""
    """Name of the run; "" is the full campaign."""
    small: bool = False
    """Short for --run small."""
    members: tuple[str, ...] = ()
    """Recipe folders in --root whose networks are used. None: the second stage of each network in members.txt."""
    root: Path = Path()
    """Folder of the checkout."""

    def __post_init__(self) -> None:
        """Raise NoseprintError for options that contradict each other or name no recipe folder."""
        check_run_name(self.run)
        if self.run and self.small:
            raise NoseprintError(f"--run {self.run} and --small name two runs: give one of them")
        if not self.members:
            object.__setattr__(self, "members", _second_stages(self.root))
        for member in self.members:
            if self.members.count(member) > 1:
                raise NoseprintError(f"--members: {member} is named twice")
            if "/" in member or not (self.root / member).is_dir():
                raise NoseprintError(f"--members: {self.root} has no recipe folder {member}")

    @property
    def name(self) -> str:
        """Name of the run, "" for the full campaign."""
        return self.run or ("small" if self.small else "")

    @cached_property
    def weights(self) -> dict[str, Path]:
        """Path of each member's weights; the file may be missing.

        Raises NoseprintError if another recipe trained them, or if two members have the same weights.
        """
        from noseprint.models.weights_header import fingerprint, read_header, require_recipe

        paths = {member: self.of(member) / "best.safetensors" for member in self.members}
        existing = {member: path for member, path in paths.items() if path.is_file()}
        for member, path in existing.items():
            try:
                header = read_header(path)
            except NoseprintError:  # whoever loads the weights reports this
                continue
            require_recipe(path, header, member)
        for (_, first), (member, second) in combinations(existing.items(), 2):
            if first.stat().st_size == second.stat().st_size and fingerprint(first) == fingerprint(second):
                raise NoseprintError(f"{second}: these are the weights of {first}; train {member}, or leave it out")
        return paths

    @property
    def similarities(self) -> dict[str, Path]:
        """Path of each member's similarities for the test pairs."""
        return {member: self.of(member) / "similarity.csv" for member in self.members}

    @property
    def results(self) -> Path:
        """Folder for the results of all members together."""
        return self.root / "results" / self.name

    def of(self, folder: str) -> Path:
        """Folder for the results of one recipe folder."""
        return self.root / folder / "results" / self.name


def _second_stages(root: Path) -> tuple[str, ...]:
    try:
        lines = (root / "members.txt").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NoseprintError(
            f"--root {root}: there is no members.txt in it; name the checkout, or use --members"
        ) from error
    return tuple(f"{line}_stage2" for line in lines if line and not line.startswith("#"))
