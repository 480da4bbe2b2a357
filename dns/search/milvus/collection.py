"""The rows of an index as a collection of Milvus, by the same calls for Milvus Lite (a file) and for a server.

A collection holds some rows of the index and no others: `fill` inserts those that are missing, and a removal deletes
them here before it does there. So it is complete where it has as many rows.

Milvus Lite takes float32 vectors alone, and its index is an HNSW graph (AUTOINDEX); a server chooses its own. What
Milvus Lite deletes stays in its files: the collection is dropped and filled again instead. A server deletes the bytes
when it next compacts and collects garbage.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dns.export.description import missing
from dns.search.milvus.expression import expression
from dns.search.rows import Filters, Row
from dns.search.store import Index
from dns.search.table import OF_ROWS, rows_of
from ffcv_convert.common.errors import ConfigError, DataError

BLOCK = 1024  # rows that are inserted together: 8 MB of 2,048 numbers; a server takes 64 MB
MOST = 16_384  # rows that Milvus returns at most
PATIENCE_S = 10.0  # for a server to answer that it is there
TOKEN = "MILVUS_TOKEN"  # environment variable with "user:password" or an API key, which is written nowhere
LONGEST = 65_535  # bytes of a name
# Of a row whose time is not known: no span holds it. Servers before 2.5 have no empty fields.
UNKNOWN_FIRST, UNKNOWN_LAST = 2**63 - 1, -(2**63)
ENDING = ".db"
FILE = "copies.json"  # in the folder of the index: see copies.py


class Place(NamedTuple):
    """Where a copy is. uri: of a server, or the absolute path of Milvus Lite's folder, which ends in .db."""

    uri: str
    collection: str

    @property
    def path(self) -> Path | None:
        return None if "://" in self.uri else Path(self.uri)


def library(path: Path | None) -> Any:
    """Return the module pymilvus. path: that of Milvus Lite's folder, None for a server. Raises ConfigError where it,
    or Milvus Lite, is not installed."""
    for module, package in (("pymilvus", "pymilvus"), *([("milvus_lite", "milvus-lite")] if path else [])):
        if find_spec(module) is None:
            raise ConfigError(f"milvus: {missing(package, 'milvus')}")
    import pymilvus

    for name in ("pymilvus", "milvus_lite", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they log what they raise, and what Milvus Lite lacks
    return pymilvus


@contextmanager
def connected(place: Place) -> Iterator["Collection"]:
    """Yield the collection, which need not exist yet. Raises ConfigError without the libraries, DataError where it
    cannot be reached or says no."""
    pymilvus = library(place.path)
    try:
        client = pymilvus.MilvusClient(place.uri, token=os.environ.get(TOKEN, ""), timeout=PATIENCE_S)
        try:
            yield Collection(client, place)
        finally:
            client.close()
            if place.path:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(place.uri)  # another process may open it now
    except pymilvus.MilvusException as error:
        what = str(getattr(error, "message", "") or error)
        raise DataError(
            f"{place.uri}: Milvus cannot be reached, or says no ({what}). Start it, end what else holds it, or correct "
            f"--uri; a server may ask for {TOKEN}=user:password"
        ) from None


class Collection:
    """The rows of an index in Milvus."""

    def __init__(self, client: Any, place: Place):
        self._client, self._name, self._uri = client, place.collection, place.uri

    def exists(self) -> bool:
        return bool(self._client.has_collection(self._name))

    def fill(self, index: Index) -> int:
        """Insert the rows that are missing. Returns how many were. Raises DataError for damaged rows, and where the
        collection is another index's."""
        if self.exists() and not self._client.list_indexes(self._name):
            self._client.drop_collection(self._name)  # of a process that was killed while it inserted
        new = not self.exists()
        if new:
            self._create(index.width)
        else:
            self._client.load_collection(self._name)
            self._check_same(index)
        inserted = 0
        with tqdm(total=len(index), desc="copying", unit="rows", dynamic_ncols=True) as bar:
            for rows, vectors_BD in _blocks(index):
                there = set() if new else self._numbers(rows[0].number, rows[-1].number)
                entities = [
                    _entity(row, vector_D)
                    for row, vector_D in zip(rows, vectors_BD, strict=True)
                    if row.number not in there
                ]
                if entities:
                    self._client.insert(self._name, entities)
                inserted += len(entities)
                bar.update(len(rows))
        self._client.flush(self._name)
        if new:
            self._index()
        return inserted

    def _create(self, width: int) -> None:
        types = library(None).DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", types.INT64, is_primary=True)
        schema.add_field("vector", types.FLOAT_VECTOR, dim=width)
        for name in ("camera", "modality", "track", "image"):
            schema.add_field(name, types.VARCHAR, max_length=LONGEST)
        for name in ("first", "last", "images"):
            schema.add_field(name, types.INT64)
        self._client.create_collection(self._name, schema=schema, consistency_level="Strong")

    def _index(self) -> None:
        """Build the index after all rows are there: while they come, Milvus Lite would build it again and again."""
        parameters = self._client.prepare_index_params()
        parameters.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
        self._client.create_index(self._name, parameters)
        self._client.load_collection(self._name)

    def _numbers(self, first: int, last: int) -> set[int]:
        found = self._client.query(self._name, f"row >= {first} and row <= {last}", output_fields=["row"])
        return {one["row"] for one in found}

    def check(self, index: Index) -> None:
        """Load it for searching. Raises DataError where it is not complete, or another index's."""
        there = 0
        if self.exists() and self._client.list_indexes(self._name):
            self._client.load_collection(self._name)
            self._check_same(index)
            (found,) = self._client.query(self._name, output_fields=["count(*)"])
            there = int(found["count(*)"])
        if there > len(index):
            raise DataError(self._of_another(index, f"{there:,} in place of {len(index):,}"))
        if there < len(index):
            raise DataError(
                f"{self._uri}: has {there:,} of the {len(index):,} rows of {index.folder}. Copy the others: "
                f"{copy_command(index.folder, self._uri)}"
            )

    def _check_same(self, index: Index) -> None:
        """Raise DataError where the last row of a segment is another one here. An index that was restored from a
        backup, or a copy of the whole folder, gives numbers again that an addition to the other one has had."""
        last = {segment.rows([len(segment) - 1])[0].number: segment.vectors_ND[-1] for segment in index.segments}
        numbers = list(last)
        for begin in range(0, len(numbers), BLOCK):
            asked = f"row in {numbers[begin : begin + BLOCK]}"
            for one in self._client.query(self._name, asked, output_fields=["row", "vector"]):
                if not np.array_equal(one["vector"], last[one["row"]].astype(np.float32)):
                    raise DataError(self._of_another(index, f"such as row {one['row']}"))

    def _of_another(self, index: Index, which: str) -> str:
        return (
            f"{self._uri}: its collection {self._name} holds rows of another index, {which}. "
            f"{index.folder} is a copy of that index, or was restored from a backup. Delete the entry of the "
            f"collection from {index.folder / FILE}, and drop the collection if no index uses it; then copy the rows "
            f"to a new one: {copy_command(index.folder, self._uri)}"
        )

    def nearest(self, query_D: np.ndarray, filters: Filters, count: int) -> np.ndarray:
        """Return the numbers of up to `count` rows that are probably the most similar: int64."""
        (found,) = self._client.search(
            self._name, data=[query_D.tolist()], anns_field="vector", filter=expression(filters),
            limit=min(count, MOST), output_fields=["row"],
        )  # fmt: skip
        return np.array([hit["row"] for hit in found], np.int64)

    def remove(self, numbers: Sequence[int]) -> None:
        """Delete the rows of these numbers, from the disk as well. Milvus Lite has none left afterwards: `fill`."""
        if not self.exists():
            return
        if self._client.get_server_version().startswith("milvus_lite"):
            self._client.drop_collection(self._name)
            return
        for begin in range(0, len(numbers), BLOCK):
            self._client.delete(self._name, ids=list(numbers[begin : begin + BLOCK]))
        self._client.flush(self._name)
        self._client.compact(self._name)


def copy_command(folder: Path, uri: str) -> str:
    return f"python -m dns.search copy {folder} --to milvus --uri {uri}"


def _blocks(index: Index) -> Iterator[tuple[list[Row], np.ndarray]]:
    """Yield the rows of an index with their vectors, float32 (B, D)."""
    for segment in index.segments:
        for begin, group in segment.groups(OF_ROWS):
            for first in range(0, len(group), BLOCK):
                rows = rows_of(group.slice(first, BLOCK))
                yield rows, segment.vectors(begin + first, begin + first + len(rows))


def _entity(row: Row, vector_D: np.ndarray) -> dict[str, Any]:
    return {
        "row": row.number, "vector": vector_D, "camera": row.camera, "modality": row.modality.name.lower(),
        "first": UNKNOWN_FIRST if row.first_ms is None else row.first_ms,
        "last": UNKNOWN_LAST if row.last_ms is None else row.last_ms,
        "images": row.images, "track": row.track, "image": row.image,
    }  # fmt: skip
