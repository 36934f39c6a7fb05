"""noseprint search."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from noseprint.inference.alike import AlikeIndividuals
    from noseprint.inference.search import Match

_PRINTED = 10  # queries whose best match is printed, and pairs of individuals
_SAME_PHOTOGRAPH = 0.9999
_SURE = 0.9  # from this probability of "none" on, the sentence does not say "perhaps"


@dataclass(frozen=True)
class Search:
    """Find the most similar gallery images of each photograph, and the individual it shows, if any."""

    query: tyro.conf.Positional[Path]
    """A photograph, or a folder of photographs."""
    gallery: Path
    """The file that noseprint embed wrote."""
    out: Path = Path("found.csv")
    """Table of the matches: query,rank,image,similarity and, if known, identity,probability,none."""
    top: int = 5
    """Images to find for each photograph."""
    expand: int = 0
    """Move each query towards this many of its nearest images before the search (alpha query expansion). 1 finds more
    photographs of an individual that has several in the gallery. The similarities are then those of the moved query."""
    identities: Path | None = None
    """Table of the gallery's identities: a train_data.csv (dog ID,nose print image), or the imported.csv of noseprint
    import. An identity that is empty, unknown, NA, ? or the like is not known."""
    unknown: tuple[str, ...] = ()
    """Further words for identities that are not known."""
    verifier: Path | None = None
    """The verifier.json that noseprint calibrate made for the gallery's networks. A gallery of several networks needs
    it for probabilities; a single network's weights have their own calibration."""
    weights: tuple[Path, ...] = ()
    """The weights that the gallery was embedded with, if they were moved."""
    index: bool = False
    """Search approximately (recall@10 about 0.99) with a faiss index, which is built beside the gallery: for 500,000
    images and more. Needs pip install noseprint[index]."""
    skip_bad: bool = False
    """Leave out queries that cannot be read: their rows in the table are empty, and NAME.skipped.csv lists them."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def __call__(self) -> None:
        """Search, write the table and print the best matches."""
        from noseprint.calibration.verifier import read_verifier
        from noseprint.devices import choose_device
        from noseprint.files import check_output, skipped_table
        from noseprint.inference.gallery import read_gallery
        from noseprint.inference.index import open_index
        from noseprint.inference.photograph_records import say_changes
        from noseprint.inference.search import read_identities, search_gallery, write_matches

        inputs = [self.gallery, *self.weights, *filter(None, (self.identities, self.verifier))]
        check_output(self.out, suffix=".csv", inputs=inputs)
        verifier = read_verifier(self.verifier) if self.verifier else None
        gallery = read_gallery(self.gallery)
        identities = read_identities(self.identities, gallery.names, unknown=self.unknown) if self.identities else None
        say_changes(gallery.folder, gallery.names, gallery.records)
        result = search_gallery(
            self.query,
            gallery,
            device=choose_device(self.device),
            top=self.top,
            identities=identities,
            verifier=verifier,
            weights=self.weights,
            expand=self.expand,
            index=open_index(self.gallery, gallery) if self.index else None,
            skip_bad=self.skip_bad,
            skipped_csv=skipped_table(self.out),
        )
        replaced = ", which is replaced" if self.out.is_file() else ""
        write_matches(self.out, result.matches, skipped=result.skipped)
        for best in [match for match in result.matches if match.rank == 1][:_PRINTED]:
            print(_sentence(best))
        if verifier and verifier.caution and not self.expand:
            print(f"caution: {verifier.caution}")
        for query, problem in list(result.shortfalls.items())[:_PRINTED]:
            print(f"{query} is {problem}: it gets no probability", file=sys.stderr)
        for line in _alike_lines(result.alike, self.identities):
            print(line, file=sys.stderr)
        print(f"{len(result.matches) + len(result.skipped)} rows: {self.out}{replaced}")


def _alike_lines(alike: Sequence["AlikeIndividuals"], table: Path | None) -> list[str]:
    """A warning about individuals that are perhaps one."""
    if not alike:
        return []
    lines = [f"  {pair.a} and {pair.b} (probability {pair.probability:.3f})" for pair in alike[:_PRINTED]]
    lines += [f"  and {len(alike) - _PRINTED} more"] if len(alike) > _PRINTED else []
    return [
        "Each of these pairs is perhaps one individual under two names. A search divides its probability between them. "
        f"If it is one individual, give it one name in {table}:",
        *lines,
    ]


def _sentence(best: "Match") -> str:
    identity = f", {best.identity}" if best.identity else ""
    copy = ", the same photograph" if best.similarity > _SAME_PHOTOGRAPH else ""
    most_similar = f"most similar to {best.image}{identity} ({best.similarity:.3f}{copy})"
    if best.probability is None or best.none is None:
        return f"{best.query}: {most_similar}"
    if best.none > best.probability:
        answer = "none of them" if best.none >= _SURE else "perhaps none of them"
        return (
            f"{best.query}: {answer} (probability {best.none:.3f}); {most_similar}, probability {best.probability:.3f}"
        )
    return f"{best.query}: {most_similar}, probability {best.probability:.3f}; none of them {best.none:.3f}"
