"""Asks an index with an image of a person: python -m dns.search search."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dns.evaluation.tables import on_screen
from dns.judge.features import read_features
from dns.judge.readers import READERS
from dns.report.write import terms
from dns.search import calibration
from dns.search.answer import Answer, Hit, answer
from dns.search.approximate import files
from dns.search.asking import as_json, check_cameras, crop_of, network_of
from dns.search.candidates import Candidates
from dns.search.milvus import copies
from dns.search.moments import moment
from dns.search.page import DECISIONS, PROMISE, About, Query, write_page
from dns.search.rows import Filters, Row
from dns.search.sightings import Box
from dns.search.store import Index
from dns.search.upkeep_command import filters
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.decoding import decode

CANDIDATES = "Candidates alone were compared: a row as similar can have been missed."
HEADER = ("rank", "similarity", "strangers", "camera", "first seen (UTC)", "last seen (UTC)", "images", "row", "image")


def run(options: argparse.Namespace, more: Sequence[str]) -> int:
    """Search, print a table or JSON, and write a page, as the command line says. Raises a UserError."""
    if options.page and options.page.suffix.lower() != ".html":
        raise ConfigError(f"--page={options.page}: a page ends in .html. Name another file")
    index = Index.open(options.index)
    chosen = filters(options, options.rows)
    if chosen.cameras:
        check_cameras(options.index, index.cameras(), chosen)
    vector_D, picture = _query(options, index, more)
    known = calibration.load(options.index, index.network)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _candidates(options, index) as candidates:
        answers = answer(
            index, vector_D, options.modality, chosen, hits=options.hits, fpir=options.fpir, calibration=known,
            device=device, candidates=candidates,
        )  # fmt: skip
    approximate = bool(options.approximate or options.store)
    if options.page:
        about = About(
            options.index.absolute().name, len(index), network_in_words(index.network), options.fpir,
            f"Strangers were counted on {known.source}." if known else None, terms("", ""),
        )  # fmt: skip
        asked = f"{in_words(chosen)} {CANDIDATES}" if approximate else in_words(chosen)
        query = Query(options.query.name, options.modality, picture, asked)
        write_page(options.page, query, answers, about)
    if options.json:
        print(json.dumps(_told(options, answers), indent=1, allow_nan=False))
        return 0
    report(answers)
    said = [PROMISE] * bool(known) + [CANDIDATES] * approximate + [f"written: {options.page}"] * bool(options.page)
    print(*said, sep="\n")
    return 0


def _told(options: argparse.Namespace, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what --json prints."""
    return {
        "index": str(options.index), "query": str(options.query), "modality": options.modality.name.lower(),
        "fpir": options.fpir, "approximate": bool(options.approximate or options.store),
        "answers": as_json(answers),
    }  # fmt: skip


@contextmanager
def _candidates(options: argparse.Namespace, index: Index) -> Iterator[Candidates | None]:
    """Yield what chooses the rows to compare; None for all."""
    if options.store:
        if not options.uri:
            raise ConfigError("--from milvus: which one? Name it: --uri=milvus.db, or --uri=http://...")
        with copies.opened(index, copies.place_of(options.uri)) as candidates:
            yield candidates
    else:
        if options.uri:
            raise ConfigError("--uri: says where --from milvus searches. Add that, or leave --uri out")
        yield files.opened(index) if options.approximate else None


def report(answers: Sequence[Answer]) -> None:
    """Print the hits of each modality, and whether they are somebody."""
    if not answers:
        print("No row fits the filters: nobody")
    for one in answers:
        title = f"Among {one.searched:,} {one.modality.name.lower()} rows: {DECISIONS[one.decision]}"
        print(on_screen(title, _table(one)))
        print(one.reason)


def _query(options: argparse.Namespace, index: Index, more: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the query's vector, float32 of length 1, and its picture, None for one that was embedded elsewhere."""
    path = options.query
    if path.suffix.lower() in READERS:
        return _embedding(path, index), None
    if not path.exists():
        raise DataError(f"{path}: no such file. Name an image of a person")
    frame_HWC = decode(path).pixels  # first, because to open a network takes longer
    network = network_of(index, options.checkpoint, more)
    crop = crop_of(frame_HWC, str(path), Box(*options.box) if options.box else None, network.size_px)
    return network.embed(crop[None], options.modality)[0], crop


def _embedding(path: Path, index: Index) -> np.ndarray:
    features = read_features(path)
    matrix_ND = features.matrices[features.own]
    if matrix_ND.shape != (1, index.width):
        raise DataError(
            f"{path}: holds {matrix_ND.shape[0]:,} x {matrix_ND.shape[1]:,} numbers; a query is one row of "
            f"{index.width:,}, as in the index. Save the query's embedding alone"
        )
    return (matrix_ND[0] / np.linalg.norm(matrix_ND[0])).astype(np.float32)


def _table(found: Answer) -> list[list[str]]:
    return [list(HEADER), *map(_line, found.hits)]


def _line(hit: Hit) -> list[str]:
    row = hit.row
    strangers = "" if hit.strangers is None else calibration.number(hit.strangers, hit.at_most)
    scores = str(hit.rank), f"{hit.similarity:.3f}", strangers
    return [*scores, row.camera, *_seen(row), str(row.images), str(row.number), row.image]


def _seen(row: Row) -> list[str]:
    return ["" if time_ms is None else moment(time_ms) for time_ms in (row.first_ms, row.last_ms)]


def in_words(chosen: Filters) -> str:
    """Say which rows were searched."""
    parts = [f"cameras {', '.join(chosen.cameras)}" if chosen.cameras else "all cameras"]
    parts += [f"{chosen.modality.name.lower()} rows"] if chosen.modality is not None else []
    parts += [f"since {moment(chosen.since_ms)}"] if chosen.since_ms is not None else []
    parts += [f"until {moment(chosen.until_ms)}"] if chosen.until_ms is not None else []
    return f"Searched: {', '.join(parts)}."


def network_in_words(network: Mapping[str, Any]) -> str:
    """Say which network embedded the rows."""
    if not network["sha256"]:
        return f"The rows were embedded elsewhere ({network['file']})."
    how = f"{network['method']}, {network['architecture']}"
    return f"The rows were embedded by {network['file']}, epoch {network['epoch']} ({how})."
