"""Files of boxes in JSON: the results of MegaDetector, in each of its formats, and COCO or COCO Camera Traps."""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from noseprint.errors import DataError, Fault
from noseprint.importing.boxes import BoxFormat, Numbers, Orientation, StatedBox

T = TypeVar("T")
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
OptionalBox = Annotated[Numbers | None, BeforeValidator(lambda value: value or None)]

_ANIMAL = "animal"
_MEGADETECTOR = {"1": _ANIMAL, "2": "person", "3": "vehicle"}
_PYTORCH_WILDLIFE = {"0": _ANIMAL, "1": "person", "2": "vehicle"}
_KNOWN = (
    "is not a file of boxes that noseprint knows: noseprint reads MegaDetector's results "
    "(https://lila.science/megadetector-output-format, and those of Microsoft's MegaDetector and PyTorch-Wildlife) "
    "and COCO Camera Traps (https://lila.science/coco-camera-traps)"
)


@dataclass(frozen=True)
class DetectedBox:
    """A box in a photograph, what it shows, and how sure the detector was (1 for a box drawn by hand)."""

    stated: StatedBox
    category: str
    confidence: float


@dataclass(frozen=True)
class BoxFile:
    """The boxes in each photograph, by the name that the file gives it, and how they are to be read."""

    kind: str
    boxes: Mapping[str, Sequence[DetectedBox]]
    formats: tuple[BoxFormat, ...]
    orientation: Orientation = "upright"
    failed: Mapping[str, str] = field(default_factory=dict)
    """The photographs that the detector could not read, and why."""


@dataclass(frozen=True)
class CocoTable:
    """The annotations of a COCO file as rows of a table, with the box of each."""

    names: list[str]
    rows: list[list[str]]
    boxes: list[StatedBox | None]
    without_annotation: int
    """Number of photographs without an annotation."""


class _Detection(BaseModel):
    bbox: Numbers
    category: Text = Field("", validation_alias=AliasChoices("label", "category"))
    confidence: float = Field(validation_alias=AliasChoices("conf", "confidence"))


class _DetectedImage(BaseModel):
    file: str = Field(validation_alias=AliasChoices("file", "filepath"))
    detections: list[_Detection] | None = None
    failure: str | list[str] | None = Field(None, validation_alias=AliasChoices("failure", "failures"))
    width: int | None = None
    height: int | None = None


class _Detections(BaseModel):
    images: list[_DetectedImage] = Field(validation_alias=AliasChoices("images", "predictions"))
    detection_categories: dict[Text, str] | None = None


class _WildlifeImage(BaseModel):
    """Of PyTorch-Wildlife: a list for each property of the boxes."""

    img_id: str
    bbox: list[Numbers]
    category: list[Text] = Field(validation_alias=AliasChoices("category", "det_category"))
    confidence: list[float] = Field(validation_alias=AliasChoices("confidence", "det_confidence"))


class _Wildlife(BaseModel):
    annotations: list[_WildlifeImage]
    categories: dict[Text, str] | None = Field(None, validation_alias=AliasChoices("categories", "det_categories"))


class _CocoImage(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: Text
    file_name: str
    width: int | None = None
    height: int | None = None


class _CocoAnnotation(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: Text = ""
    image_id: Text
    category_id: Text = ""
    bbox: OptionalBox = Field(None, validation_alias=AliasChoices("bbox", "bbox_relative"))
    score: float = Field(1.0, validation_alias=AliasChoices("score", "conf", "confidence"))


class _CocoCategory(BaseModel):
    id: Text
    name: Text


class _Coco(BaseModel):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]
    categories: list[_CocoCategory] = []


def looks_like_json(data: bytes) -> bool:
    """Whether a file begins as JSON does, and not as a table."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def read_box_file(path: Path) -> BoxFile:
    """Read the boxes of MegaDetector's results or of a COCO file. If a detection is an animal, only animals are read.

    The formats, and the image in which the boxes are: results of MegaDetector have fractions x,y,w,h of the upright
    image; those of Microsoft's MegaDetector have pixels x1,y1,x2,y2 of the image as it is stored, because it does not
    apply the EXIF orientation; those of PyTorch-Wildlife have pixels x1,y1,x2,y2; those of MegaDetector's real-time
    API have fractions y1,x1,y2,x2 of the upright image; COCO has pixels x,y,w,h.
    Raises DataError if the file is something else.
    """
    data = _load(path)
    if _is_coco(data):
        coco = _parse(path, _Coco, data)
        images = {image.id: image for image in coco.images}
        names = {category.id: category.name for category in coco.categories}
        boxes: dict[str, list[DetectedBox]] = {image.file_name: [] for image in coco.images}
        for found in coco.annotations:
            if found.bbox and found.image_id in images:
                image = images[found.image_id]
                stated = StatedBox(found.bbox, _size(image))
                boxes[image.file_name].append(DetectedBox(stated, names.get(found.category_id, ""), found.score))
        return BoxFile("COCO", _animals(boxes), ("xywh",))
    if isinstance(data, dict) and "annotations" in data:
        wildlife = _parse(path, _Wildlife, data)
        names = wildlife.categories or _PYTORCH_WILDLIFE
        lengths = {im.img_id: {len(im.bbox), len(im.category), len(im.confidence)} for im in wildlife.annotations}
        if uneven := [name for name, different in lengths.items() if len(different) > 1]:
            raise DataError([Fault(path, None, f"{name}: its lists differ in length") for name in uneven])
        lists = {
            image.img_id: [
                DetectedBox(StatedBox(numbers), names.get(category, category), confidence)
                for numbers, category, confidence in zip(image.bbox, image.category, image.confidence, strict=True)
            ]
            for image in wildlife.annotations
        }
        return BoxFile("PyTorch-Wildlife's results", _animals(lists), ("xyxy",))
    if isinstance(data, dict) and data.keys() & {"images", "predictions"}:
        results = _parse(path, _Detections, data)
        boxes = _detected(results.images, results.detection_categories or _MEGADETECTOR)
        return BoxFile("MegaDetector's results", _animals(boxes), ("xywh",), failed=_failed(results.images))
    if isinstance(data, list) and data and all(isinstance(image, dict) and "file" in image for image in data):
        images_found = _parse(path, list[_DetectedImage], data)
        boxes = _animals(_detected(images_found, _MEGADETECTOR))
        if any("conf" in found for image in data for found in image.get("detections") or ()):
            return BoxFile("MegaDetector's results", boxes, ("xywh",), failed=_failed(images_found))
        return BoxFile("results of Microsoft's MegaDetector", boxes, ("xyxy",), "stored")
    if isinstance(data, dict) and data and all(_is_list_of_lists(found) for found in data.values()):
        of_api = _parse(path, dict[str, list[tuple[float, float, float, float, float, Text]]], data)
        boxes = {
            name: [DetectedBox(StatedBox((a, b, c, d)), _MEGADETECTOR.get(category, category), confidence)
                   for a, b, c, d, confidence, category in found]
            for name, found in of_api.items()
        }  # fmt: skip
        return BoxFile("results of MegaDetector's real-time API", _animals(boxes), ("yxyx",))
    raise DataError([Fault(path, None, _KNOWN)])


def read_coco_table(path: Path) -> CocoTable:
    """Read a COCO file as a table: a row for each annotation.

    Its columns: file_name; each field of the annotation and of its image that holds one word or number (`seq_id` is
    called encounter); category, by name. Raises DataError if the file is not COCO, or the image of an annotation is
    missing.
    """
    data = _load(path)
    if not _is_coco(data):
        kind = read_box_file(path).kind
        problem = f"has {kind}, which name no individuals: import the photographs with --boxes {path}"
        raise DataError([Fault(path, None, problem)])
    coco = _parse(path, _Coco, data)
    images = {image.id: image for image in coco.images}
    categories = {category.id: category.name for category in coco.categories}
    columns: dict[str, None] = {}
    records = list[dict[str, str]]()
    faults = list[Fault]()
    for found in coco.annotations:
        if (image := images.get(found.image_id)) is None:
            faults.append(Fault(path, None, f"annotation {found.id}: there is no image {found.image_id!r}"))
            continue
        own, of_image = _words(found.model_extra), _words(image.model_extra)
        of_image = {("encounter" if key == "seq_id" else key): value for key, value in of_image.items()}
        record = {"file_name": image.file_name, **own, **{k: v for k, v in of_image.items() if k not in own}}
        records.append(record | {"category": categories.get(found.category_id, found.category_id)})
        columns |= dict.fromkeys(records[-1])
    if faults:
        raise DataError(faults)
    return CocoTable(
        names=list(columns),
        rows=[[record.get(column, "") for column in columns] for record in records],
        boxes=[
            StatedBox(found.bbox, _size(images[found.image_id])) if found.bbox else None for found in coco.annotations
        ],
        without_annotation=len(images.keys() - {found.image_id for found in coco.annotations}),
    )


def match_names(photographs: Sequence[Path], root: Path, names: Sequence[str]) -> list[list[str]]:
    """The names in a box file that each photograph may have: one if it is clear, none, or several.

    A name fits a photograph if the photograph's path ends with the name, or the name ends with the photograph's path in
    `root`. If several names fit, those count that agree in most folders. If no name fits any photograph, the
    photographs may have been moved: file names alone then decide, if each photograph has exactly one and all are
    different.
    Backslashes are slashes; the Unicode form is ignored.
    """
    by_file: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for name in names:
        parts = _parts(name)
        by_file[parts[-1]].append((name, parts))
    matches, alone = list[list[str]](), list[list[str]]()
    for photograph in photographs:
        whole = _parts(photograph.absolute().as_posix())
        short = _parts(photograph.relative_to(root).as_posix()) if photograph.is_relative_to(root) else whole
        equal = [(_common_end(parts, whole), name, parts) for name, parts in by_file.get(whole[-1], ())]
        fitting = [(common, name) for common, name, parts in equal if common >= min(len(parts), len(short))]
        matches.append([name for common, name in fitting if common == max(fitting)[0]])
        alone.append([name for _, name, _ in equal])
    moved = not any(matches) and all(len(own) == 1 for own in alone)
    return alone if moved and len({own[0] for own in alone}) == len(set(photographs)) else matches


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError([Fault(path, None, f"cannot be read ({error.strerror})")]) from None
    except (UnicodeDecodeError, RecursionError):
        raise DataError([Fault(path, None, "is not JSON in UTF-8")]) from None
    except json.JSONDecodeError as error:
        raise DataError([Fault(path, error.lineno, f"is not JSON ({error.msg}): {_KNOWN}")]) from None


def _parse(path: Path, kind: type[T], data: Any) -> T:
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        faults = [(".".join(map(str, found["loc"])), found["msg"]) for found in error.errors(include_url=False)]
        raise DataError([Fault(path, None, f"{where}: {problem}") for where, problem in faults]) from None


def _is_coco(data: Any) -> bool:
    return isinstance(data, dict) and data.keys() >= {"images", "annotations"}


def _is_list_of_lists(data: Any) -> bool:
    return isinstance(data, list) and all(isinstance(item, list) for item in data)


def _detected(images: Sequence[_DetectedImage], names: Mapping[str, str]) -> dict[str, list[DetectedBox]]:
    return {
        image.file: [
            DetectedBox(
                StatedBox(found.bbox, _size(image)), names.get(found.category, found.category), found.confidence
            )
            for found in image.detections or ()
        ]
        for image in images
    }


def _failed(images: Sequence[_DetectedImage]) -> dict[str, str]:
    """Why there are no detections of an image: SpeciesNet also lists what failed after the detector."""
    reasons = {image.file: image.failure for image in images if image.failure and image.detections is None}
    return {name: reason if isinstance(reason, str) else ", ".join(reason) for name, reason in reasons.items()}


def _animals(boxes: dict[str, list[DetectedBox]]) -> dict[str, list[DetectedBox]]:
    """Only the boxes of animals, if there are any: people and cars are then not the individuals."""
    if not any(box.category.casefold() == _ANIMAL for found in boxes.values() for box in found):
        return boxes
    return {name: [box for box in found if box.category.casefold() == _ANIMAL] for name, found in boxes.items()}


def _size(image: _CocoImage | _DetectedImage) -> tuple[int, int] | None:
    return (image.width, image.height) if image.width and image.height else None


def _words(fields: dict[str, Any] | None) -> dict[str, str]:
    """The fields that hold one word or number; a list of one counts as what is in it."""
    single = {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in (fields or {}).items()}
    return {k: "" if v is None else str(v).strip() for k, v in single.items() if not isinstance(v, list | dict)}


def _parts(name: str) -> list[str]:
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    return [part for part in path.split("/") if part not in ("", ".")] or [""]


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    common = 0
    while common < min(len(one), len(other)) and one[-1 - common] == other[-1 - common]:
        common += 1
    return common
