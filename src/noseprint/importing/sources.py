"""A user's own photographs and the individuals that they show: read from a folder for each individual, or a table."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noseprint.data.listing import is_hidden
from noseprint.data.names import SimilarFiles
from noseprint.errors import DataError, Fault, NoseprintError, breaks_line
from noseprint.importing.box_files import match_names, read_box_file
from noseprint.importing.boxes import (
    Box,
    BoxFormat,
    BoxOptions,
    Orientation,
    StatedBox,
    find_box_columns,
    parse_box,
    place_boxes,
    unread_box_columns,
)
from noseprint.importing.folder_levels import guess_levels, parse_levels
from noseprint.importing.source_tables import (
    ENCOUNTER_COLUMNS,
    IDENTITY_COLUMNS,
    IMAGE_COLUMNS,
    SourceRow,
    SourceTable,
    examine_identities,
    examine_images,
    find_column,
    has_column,
    read_source_table,
)


@dataclass(frozen=True)
class SourcePhotograph:
    """One of the user's photographs, at its present path, or the part of it in a box."""

    path: Path
    identity: str
    encounter: str
    """One occasion on which this individual was photographed; "" if it is not known."""
    box: Box | None = None
    """None: the whole photograph."""


@dataclass(frozen=True)
class ImportSource:
    """What a source names: photographs in a fixed order, what is wrong with the rest, whether it gives encounters."""

    photographs: Sequence[SourcePhotograph]
    faults: Sequence[Fault]
    has_encounters: bool
    description: str
    """How the source was read, for the user to check."""
    encounter_column: str = ""
    """Of a table with encounters."""


def read_source(
    source: Path,
    *,
    encounter_folders: bool = False,
    folders: str | None = None,
    images: Path | None = None,
    image_column: str | None = None,
    identity_column: str | None = None,
    encounter_column: str | None = None,
    boxes: BoxOptions = BoxOptions(),  # noqa: B008 - it cannot be changed
) -> ImportSource:
    """Read a folder, or a table (see `read_source_table`), with the boxes that it or the file of `boxes` has.

    In a folder, every file is read except hidden ones. folders: what each level of folders inside `source` is, such
    as "split/individual" (see `parse_levels`); None guesses it: the first level names the individuals, unless its
    folders are splits (train, test, ...), or a single folder, that hold nothing but folders.
    encounter_folders: the folders inside an individual's folder are its encounters. images: the folder that the table's
    paths start from; None: the table's own folder. image_column, identity_column, encounter_column: None guesses the
    column by its name, in any case. An empty field means that the encounter is not known.
    Raises NoseprintError if there are no files or no folders, or if the folders may be read in two ways. Raises
    DataError if the table as a whole cannot be read, a column does not exist, or a guessed column cannot be right.
    """
    if folders is not None and not source.is_dir():
        raise NoseprintError(f"--folders {folders} is for a folder of photographs, and {source} is not one")
    if boxes.columns and not source.is_file():
        raise NoseprintError(f"--box-columns is for a table, and {source} is not one")
    root = source if source.is_dir() else images or source.parent
    if source.is_dir():
        found = _read_folders(source, encounters=encounter_folders, levels=folders, ignored=boxes.file)
    elif source.is_file():
        columns = {"image": image_column, "identity": identity_column, "encounter": encounter_column}
        found = _read_table(read_source_table(source), root, columns, boxes)
    else:
        raise NoseprintError(f"{source}: no such folder or table")
    return _add_boxes(found, root, boxes, boxes.file) if boxes.file and boxes.crop else found


# -- folders -----------------------------------------------------------------------------------------------------------


def _read_folders(source: Path, *, encounters: bool, levels: str | None, ignored: Path | None) -> ImportSource:
    files, faults = list[Path](), list[Fault]()
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if any(map(is_hidden, parts)):
            continue
        if path.is_dir() and path.is_symlink():
            faults.append(Fault(path, None, "is a link to a folder, which is not followed: copy the folder here"))
        elif not path.is_dir() and not (ignored and ignored.exists() and path.exists() and path.samefile(ignored)):
            files.append(path)
    given = parse_levels(levels) if levels is not None else None
    guessed = given or guess_levels(source, [path.relative_to(source).parts for path in files], encounters=encounters)
    depth = len(guessed)
    photographs = list[SourcePhotograph]()
    for path in files:
        parts = path.relative_to(source).parts
        if len(parts) <= depth:
            faults.append(Fault(path, None, "is in no individual's folder: move it into one"))
        elif problem := _name_problem(path.relative_to(source).as_posix()):
            faults.append(Fault(path, None, problem))
        else:
            names = [part.strip() for part, level in zip(parts, guessed, strict=False) if level != "split"]
            encounter = "/".join(parts[depth:-1]) if encounters else ""
            photographs.append(SourcePhotograph(path, "/".join(names), encounter.strip()))
    if faults and not any(path.is_dir() for path in source.iterdir()):
        parent = source.parent if source.name else source.resolve().parent
        raise NoseprintError(f"{source} holds files, but no folder for each individual: did you mean {parent}?")
    if not (photographs or faults):
        raise NoseprintError(f"{source} holds no photographs: give a folder that has a folder for each individual")
    counts = Counter(photograph.identity for photograph in photographs)
    if given is None and len(counts) > 1 and set(counts.values()) == {1}:
        raise NoseprintError(
            f"{source}: each of the {len(counts)} folders holds one photograph, so no two show one individual. "
            "Put all photographs of an individual into one folder, or name the individuals in a table; if this is "
            f"right, pass --folders {'/'.join(guessed)}"
        )
    faults.sort(key=lambda fault: fault.file)
    return ImportSource(photographs, faults, encounters, _describe_levels(guessed, photographs, source))


def _describe_levels(levels: Sequence[str], photographs: Sequence[SourcePhotograph], source: Path) -> str:
    if len(levels) == 1 or not photographs:
        return "each folder in it is an individual"
    folder = "/".join(photographs[0].path.relative_to(source).parts[: len(levels)])
    one = "; equal names are one individual" if "split" in levels[:-1] else ""
    individuals = len({photograph.identity for photograph in photographs})
    return f"{individuals} individuals, whose folders are on level {len(levels)} (such as {folder}){one}"


# -- tables ------------------------------------------------------------------------------------------------------------


def _read_table(table: SourceTable, root: Path, given: Mapping[str, str | None], options: BoxOptions) -> ImportSource:
    """Read the photographs of a table. root: the folder of its paths. given: names of columns, from the user."""
    image_at = find_column(table, given["image"], IMAGE_COLUMNS, what="image")
    identity_at = find_column(table, given["identity"], IDENTITY_COLUMNS, what="identity")
    encounter_at = None
    if given["encounter"] is not None or has_column(table, ENCOUNTER_COLUMNS):
        encounter_at = find_column(table, given["encounter"], ENCOUNTER_COLUMNS, what="encounter")
    if not table.rows:
        raise DataError([Fault(table.path, None, "there are no photographs below the header")])
    if given["image"] is None:
        examine_images(table, image_at, lambda name: bool(name) and _is_file(_find_photograph(root, name)))
    if given["identity"] is None:
        examine_identities(table, identity_at, image_at)
    photographs, faults, rows, similar = list[SourcePhotograph](), list[Fault](), list[SourceRow](), SimilarFiles()
    for row in table.rows:
        encounter = "" if encounter_at is None else row.fields[encounter_at]
        path = _find_photograph(root, row.fields[image_at])
        photograph = SourcePhotograph(path, row.fields[identity_at], encounter)
        if problem := _row_problem(photograph, row.fields, table.names, similar):
            faults.append(Fault(table.path, row.line, problem))
        else:
            photographs.append(photograph)
            rows.append(row)
    description = f"columns: image {table.names[image_at]!r}, identity {table.names[identity_at]!r}"
    description += "" if encounter_at is None else f", encounter {table.names[encounter_at]!r}"
    description = f"{table.note}, {description}" if table.note else description
    column = "" if encounter_at is None else table.names[encounter_at]
    found = ImportSource(photographs, faults, encounter_at is not None, description, column)
    return _cut_table(found, table, rows, options) if options.crop else found


# -- boxes -------------------------------------------------------------------------------------------------------------


def _cut_table(found: ImportSource, table: SourceTable, rows: Sequence[SourceRow], options: BoxOptions) -> ImportSource:
    """Add the boxes of the table's columns, or of COCO. rows: those of the photographs found."""
    columns = find_box_columns(table.names, [row.fields for row in rows], options)
    formats: tuple[BoxFormat, ...] = (options.format or "xywh",)
    stated: list[StatedBox | str | None] = [row.stated for row in rows]
    names = "'bbox'"
    if columns:
        formats = columns.formats
        stated = []
        for row in rows:
            numbers = parse_box([row.fields[at] for at in columns.positions])
            stated.append(StatedBox(numbers) if isinstance(numbers, tuple) else numbers)
        names = ", ".join(repr(table.names[at]) for at in columns.positions)
    if not any(stated):
        unread = [] if options.file else unread_box_columns(table.names, [row.fields for row in rows])
        note = f"; whole photographs, though boxes may be in {', '.join(map(repr, unread))}: see --box-columns"
        return replace(found, description=found.description + note) if unread else found
    if options.file:
        raise NoseprintError(f"{table.path} has boxes ({names}), and so has {options.file}: leave --boxes out")
    missing = "there is no box: write one, or delete the row (or pass --no-crop, for whole photographs)"
    problems = [missing if box is None else box if isinstance(box, str) else None for box in stated]
    places = [(table.path, row.line) for row in rows]
    orientation = options.image or "upright"
    return _place(found, stated, problems, places, formats=formats, orientation=orientation, what=f"box {names}")


def _add_boxes(found: ImportSource, root: Path, options: BoxOptions, file: Path) -> ImportSource:
    """Add the boxes in `file` to photographs that each show one individual. root: the folder their names start from."""
    box_file = read_box_file(file)
    paths = [photograph.path for photograph in found.photographs]
    matches = match_names(paths, root, list(box_file.boxes))
    if paths and not any(matches):
        first = next(iter(box_file.boxes), "nothing")
        different = f"its first name is {first!r}, the first photograph {str(paths[0])!r}"
        raise DataError([Fault(file, None, f"names none of the {len(paths)} photographs: {different}")])
    users, shown = defaultdict[str, set[Path]](set), defaultdict[Path, set[str]](set)
    for photograph, names in zip(found.photographs, matches, strict=True):
        shown[photograph.path].add(photograph.identity)
        for name in names:
            users[name].add(photograph.path)
    stated, problems = list[StatedBox | None](), list[str | None]()
    for path, names in zip(paths, matches, strict=True):
        of_name = box_file.boxes[names[0]] if names else ()
        sure = sorted((box for box in of_name if box.confidence >= options.confidence), key=lambda box: -box.confidence)
        problem: str | None = None
        if not names:
            problem = f"is not in {file}"
        elif len(names) > 1 or len(users[names[0]]) > 1:
            problem = (
                f"cannot be matched to a name of its own in {file}: give the folder that the names there start from"
            )
        elif names[0] in box_file.failed:
            problem = f"was not read by the detector ({box_file.failed[names[0]]}), says {file}: run it again"
        elif not of_name:
            problem = f"has no box in {file}: draw one, or leave the photograph out"
        elif not sure:
            problem = f"has no box of confidence {options.confidence:g} or more in {file}: lower --confidence"
        elif len(shown[path]) > 1:
            problem = (
                f"shows {len(shown[path])} individuals, and {file} does not say whose box is which: write the boxes "
                "into the table, as a column bbox"
            )
        elif len(sure) > 1 and not options.surest:
            problem = (
                f"has {len(sure)} boxes of confidence {options.confidence:g} or more, but shows one individual: raise "
                "--confidence, or take the surest box with --surest-box"
            )
        stated.append(None if problem else sure[0].stated)
        problems.append(problem)
    return _place(
        found,
        stated,
        problems,
        [(path, None) for path in paths],
        formats=(options.format,) if options.format else box_file.formats,
        orientation=options.image or box_file.orientation,
        what=f"boxes from {box_file.kind} (confidence {options.confidence:g} or more)",
    )


def _place(
    found: ImportSource,
    stated: Sequence[StatedBox | str | None],
    problems: Sequence[str | None],
    places: Sequence[tuple[Path, int | None]],
    *,
    formats: Sequence[BoxFormat],
    orientation: Orientation,
    what: str,
) -> ImportSource:
    """Place a box in each photograph, or report its problem. places: file and line of each, for the faults."""
    given = [at for at, box in enumerate(stated) if isinstance(box, StatedBox)]
    boxes, how = place_boxes(
        [found.photographs[at].path for at in given],
        [box for box in stated if isinstance(box, StatedBox)],
        formats=formats,
        orientation=orientation,
    )
    placed = dict(zip(given, boxes, strict=True))
    results = [placed.get(at, problem or "") for at, problem in enumerate(problems)]
    faults = [
        Fault(*place, result if place[1] or place[0] == photograph.path else f"{photograph.path.name}: {result}")
        for photograph, place, result in zip(found.photographs, places, results, strict=True)
        if isinstance(result, str)
    ]
    fit = len(results) - len(faults)
    if len(boxes) > 3 and 2 * sum(isinstance(box, Box) for box in boxes) < len(boxes):
        raise NoseprintError(
            f"{what}: {fit} of {len(boxes)} fit into their photographs, read as {how}. Say how to read them with "
            f"--box-format or --box-columns, or take whole photographs with --no-crop. The first problem: {faults[0]}"
        )
    photographs = [
        replace(photograph, box=result)
        for photograph, result in zip(found.photographs, results, strict=True)
        if isinstance(result, Box)
    ]
    description = f"{found.description}; {what} as {how}"
    return replace(found, photographs=photographs, faults=[*found.faults, *faults], description=description)


# -- rows and names ----------------------------------------------------------------------------------------------------


def _find_photograph(images: Path, name: str) -> Path:
    """The photograph of a table, whose paths may have the backslashes of Windows."""
    path = images / name
    return images / name.replace("\\", "/") if "\\" in name and not _is_file(path) else path


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - False, and no error, for a text that no file can be named


def _row_problem(
    photograph: SourcePhotograph, fields: Sequence[str], names: Sequence[str], similar: SimilarFiles
) -> str | None:
    if len(fields) > len(names):
        return f"{len(fields)} fields, the header has {len(names)}: put quotes around a field that holds a separator"
    if problem := _name_problem("".join(fields)):
        return problem
    if not _is_file(photograph.path):
        if (found := similar.find(photograph.path)) and found.is_file():
            return f"there is no photograph {photograph.path}, but {found}: write the path as it is on the disk"
        return f"there is no photograph {photograph.path}: fix the path, or name the folder of the paths with --images"
    return None


def _name_problem(text: str) -> str | None:
    return "the name holds a control character or is not UTF-8: rename it" if breaks_line(text) else None
