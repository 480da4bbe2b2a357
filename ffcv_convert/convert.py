"""Converts one data set: finds its folder, lists and checks its images, and writes what is not up to date."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ffcv_convert.beton import manifest_path, open_beton, read_manifest, read_structure
from ffcv_convert.beton.layout import MODE_RAW
from ffcv_convert.beton.repeats import find_repeats
from ffcv_convert.common.atomic import sweep
from ffcv_convert.common.errors import DataError, IncompleteError, as_data_errors
from ffcv_convert.datasets.dataset import OPTIONS_FILE, Dataset, Trials, is_drawn
from ffcv_convert.images import Encoding, ImageFormat
from ffcv_convert.records import AUXILIARY, Record, check_records
from ffcv_convert.sources import source_fingerprint, sources_path, up_to_date
from ffcv_convert.survey import INCOMPLETE, SHOWN, Part, PassedOver, describe, see, shortfalls, unmatched
from ffcv_convert.video import Selection, estimate, thinned, told_of_thinning, tracklet_rows, without_missing
from ffcv_convert.writer import BetonJob, Written, write_betons

Say = Callable[[str], object]
EVERYTHING = Selection()


@dataclass(frozen=True)
class Listing:
    """A set's images as its lists and folders name them. name: the set's name in reports; missing: what makes the set
    incomplete; can_go_on: whether a network can still be trained and tested on it."""

    name: str
    root: Path
    parts: Mapping[str, list[Record]]
    trials: Mapping[str, Trials]
    missing: list[str]
    can_go_on: bool = True


def convert(
    dataset: Dataset,
    data_root: Path,
    beton_root: Path,
    image_format: ImageFormat,
    selection: Selection = EVERYTHING,
    *,
    workers: int,
    allow_incomplete: bool = True,
    force: bool = False,
    say: Say = print,
) -> dict[Path, bool]:
    """Write every part of `dataset`. Returns for each .beton whether it was written (False: it was up to date).

    selection: which of the listed images. force: write the parts even if they are up to date. say: called with a line
    for each part, and with warnings. After a DataError every existing file is unchanged. An incomplete set raises
    IncompleteError unless `allow_incomplete`; it is written first, if there is no older one.
    """
    listing = list_set(dataset, data_root, say, selection)
    root, folder = listing.root, beton_root / dataset.name
    jobs = _jobs(dataset, listing, folder, image_format, selection.every)
    current = {}
    for job in jobs:
        paths = [root / record.image for record in job.records]
        current[job.beton] = None if force else up_to_date(job.beton, job.dataset, job.fingerprint, paths, workers)
    written = {beton: opened is None for beton, opened in current.items()}
    for lack in listing.missing:
        say(f"warning: {listing.name}: {lack}")
    refused = listing.missing and not allow_incomplete
    if refused and any(beton.exists() and new for beton, new in written.items()):
        raise _incomplete(listing, f"The former conversion in {folder} is as it was")
    to_write = [job for job in jobs if written[job.beton]]
    if any(tracklet_rows(job.records) for job in to_write):
        records = [record for job in to_write for record in job.records]
        for line in estimate(records, root, image_format, selection.every, workers):
            say(f"{listing.name}: {line}")
    for part in write_betons(to_write, root, image_format, workers=workers):
        _tell(part, listing.name, bool(dataset.counts), say)
    with as_data_errors():
        for repeat in find_repeats([opened or open_beton(beton) for beton, opened in current.items()]):
            say(f"{'' if dataset.counts else 'warning: '}{listing.name}: {repeat}")
        for beton in written:
            sweep(beton)
            sweep(manifest_path(beton))
            sweep(sources_path(beton))
    if refused:
        raise _incomplete(listing, f"What was found is converted to {folder}")
    return written


def _jobs(dataset: Dataset, listing: Listing, folder: Path, image_format: ImageFormat, every: int) -> list[BetonJob]:
    """Return what is to be in `folder`. Raises DataError if it holds a part that the set lacks now."""
    for former in (folder / f"{part}.beton" for part in dataset.optional_parts if part not in listing.parts):
        if former.exists():  # training would still use it
            raise DataError(
                f"{former}: is of a former conversion, and {listing.root} has no such part now. Restore the part, or "
                f"remove {former} and {manifest_path(former).name}"
            )
    jobs = []
    for name, chosen in listing.parts.items():
        trials = listing.trials[name]
        fingerprint = source_fingerprint(chosen, listing.root, image_format, trials)
        jobs.append(BetonJob(folder / f"{name}.beton", listing.name, name, chosen, trials, fingerprint, every))
    return jobs


def _tell(part: Written, name: str, published: bool, say: Say) -> None:
    """Warn of images that were just written and are hardly meant as they are."""
    _remark(part.constant, f"{name}: images of one colour", say)
    _remark(part.several, f"{name}: files of several pages or frames, of which the first image is stored", say)
    if published:
        _remark(part.turned, f"{name}: turned upright by EXIF, which the published code ignores", say)
    else:
        advice = "Whole frames? Cut the people out"
        _remark(part.wide, f"{name}: images wider than high", say, advice)


def list_set(dataset: Dataset, data_root: Path, say: Say, selection: Selection = EVERYTHING) -> Listing:
    """List and check a set's images; say how many there are, and which files are passed over. Raises DataError."""
    root = dataset.find(data_root)
    if root is None:
        raise DataError(f"{data_root / dataset.folders[0]}: no such folder. {dataset.missing(data_root)}")
    drawn, name = is_drawn(root), dataset.title(root)
    listed = dataset.list_records(root)
    passed = PassedOver(root, listed, (*dataset.reads, OPTIONS_FILE))
    records, gone = without_missing(root, _selected(root, listed, selection))
    leaves_out = "".join(f"{sentence}. " for sentence in (*gone, str(passed)) if sentence)
    parts = _parts(dataset, root, records, passed, leaves_out)
    trials = {part: dataset.list_trials(root, part, chosen) for part, chosen in parts.items()}
    rows = {part: [(r.person, r.camera, r.modality, r.split) for r in chosen] for part, chosen in parts.items()}
    tracklets = {part: tracklet_rows(chosen) for part, chosen in parts.items()}
    seen = see(Part(rows[part], trials[part], tracklets[part]) for part in parts)
    for part in (*parts, *([AUXILIARY] if selection.auxiliary else [])):
        say(f"{name}/{part}: {describe({} if drawn else dataset.counts, part, seen)}")
    for remark in dataset.remarks(root, records):
        say(f"warning: {name}: {remark}")
    _tell_passed_over(passed, dataset, name, say)
    lacks = shortfalls(dataset, parts, seen)
    if lacks.untrainable:
        raise DataError(f"{root}: {', '.join(lacks.untrainable)}. {leaves_out}{dataset.layout}")
    check_records(records, root)
    if selection.every > 1:
        parts = _thinned(parts, selection.every, name, say)
    for part in rows.keys() - {"train"}:
        for difference in unmatched(rows[part], own=not dataset.counts):
            say(f"warning: {name}/{part}: {difference}")
    if drawn:
        return Listing(name + INCOMPLETE * bool(gone), root, parts, trials, missing=gone)
    for difference in lacks.smaller:
        say(f"warning: {name}: {difference}")
    missing = gone + lacks.untestable + lacks.missing
    return Listing(name + INCOMPLETE * bool(missing), root, parts, trials, missing, can_go_on=not lacks.untestable)


def _tell_passed_over(passed: PassedOver, dataset: Dataset, name: str, say: Say) -> None:
    if passed.names:
        say(f"{name}: {passed}")
    _remark(passed.unread(), f"{name}: images of a kind that is not read", say, "Convert them to PNG or JPEG")
    meant = passed.suspicious(own=not dataset.counts)
    _remark(meant, f"{name}: a folder with images is passed over", say, dataset.layout)


def _thinned(parts: Mapping[str, list[Record]], every: int, name: str, say: Say) -> dict[str, list[Record]]:
    """Return the parts with one frame in `every` of each tracklet, and say how many these are."""
    kept = {part: thinned(chosen, every) for part, chosen in parts.items()}
    for part, chosen in kept.items():
        say(f"{name}/{part}: {told_of_thinning(tracklet_rows(chosen), every)}")
    return kept


def _selected(root: Path, records: list[Record], selection: Selection) -> list[Record]:
    """Return the records without the auxiliary identities, unless they are asked for."""
    chosen = [record for record in records if selection.auxiliary or record.split != AUXILIARY]
    if selection.auxiliary and all(record.split != AUXILIARY for record in chosen):
        raise DataError(f"{root}: lists no auxiliary identities. Restore their list, or use --no-auxiliary")
    return chosen


def _parts(
    dataset: Dataset, root: Path, records: list[Record], passed: PassedOver, leaves_out: str
) -> dict[str, list[Record]]:
    """Return the records of each part that the set has. Raises DataError where one that it needs has none."""
    own = {part: (part, AUXILIARY) if part == "train" else (part,) for part in dataset.parts}
    parts = {part: [record for record in records if record.split in own[part]] for part in dataset.parts}
    for part in [part for part, chosen in parts.items() if not chosen]:
        like = [name for name in passed.folders if name.lower().startswith(part) and name != part and "/" not in name]
        if part not in dataset.optional_parts or (root / part).is_dir() or like:
            raise DataError(
                f"{root}: no image is listed for {part}. Check the lists and folders. {leaves_out}{dataset.layout}"
            )
        del parts[part]
    return parts


def _remark(names: list[str], what: str, say: Say, advice: str = "") -> None:
    """Warn of images or folders; name the first one and count the others."""
    if names:
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        say(f"warning: {what}: {names[0]}{more}{f'. {advice}' if advice else ''}")


def _incomplete(listing: Listing, state: str) -> IncompleteError:
    more = len(listing.missing) - SHOWN
    lacks = "; ".join(listing.missing[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
    advice = ", or go on with what is there: ALLOW_INCOMPLETE=1 behind the same make (--allow-incomplete)"
    return IncompleteError(
        f"{listing.root}: incomplete: {lacks}. {state}. Complete the set{advice if listing.can_go_on else ''}"
    )


def _stored_format(beton: Path) -> ImageFormat | None:
    """Return the format of the existing conversion, from its manifest or, if that does not open, from the .beton."""
    try:
        before = read_manifest(beton)
        return ImageFormat(before.height_px, before.width_px, "jpeg" if before.encoding == "jpeg" else "raw")
    except DataError:
        pass
    try:
        first = read_structure(beton).column("image")[0]
        encoding: Encoding = "raw" if first["mode"] == MODE_RAW else "jpeg"
        return ImageFormat(int(first["height"]), int(first["width"]), encoding)
    except (DataError, IndexError):
        return None


def image_format_for(
    dataset: Dataset, beton: Path, height_px: int | None, width_px: int | None, encoding: Encoding | None
) -> ImageFormat:
    """Return the requested format; else that of the existing `beton`, so that sizes stay; else the set's own."""
    own = _stored_format(beton) or ImageFormat(dataset.height_px, dataset.width_px)
    return replace(
        own, height_px=height_px or own.height_px, width_px=width_px or own.width_px, encoding=encoding or own.encoding
    )
