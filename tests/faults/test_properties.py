"""Whatever bytes lists, CSV files, manifests, .beton files and pictures hold: read right, or refused by a DataError."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ffcv_convert.datasets.custom import COLUMNS, list_records
from ffcv_convert.datasets.files import read_identities, read_labelled_paths
from ffcv_convert.records import Record
from ffcv_convert.schema import Manifest, Modality, manifest_path, read_manifest
from tests.faults.conftest import Tally
from tests.faults.fuzz import NAMES
from tests.faults.targets import PLACES, Opening, Target, targets

# Plain names that any list can hold: no blank or comma, no dot alone, nothing that ends a line.
NAME = some.from_regex(re.compile(r"[A-Za-z0-9_-]{1,9}(/[A-Za-z0-9_-]{1,9}){0,2}\.jpg", re.ASCII), fullmatch=True)
PERSON = some.integers(0, 10**18 - 1)
ANY_JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=9),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="session", autouse=True)
def _no_files_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    hypothesis.configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fed"))


@pytest.fixture
def examples(times) -> settings:
    """Seeded, so that a failure comes again; a few, or many."""
    return settings(
        max_examples=times(40, 2000), derandomize=True, database=None, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip


def mutated(seed: bytes) -> some.SearchStrategy[bytes]:
    """`seed` with a few places overwritten, cut out or filled in, by bytes that mean something to some reader."""
    telling = some.sampled_from([b"\0", b"\n", b"\r", b",", b'"', b"\xff", b"-1", b"9" * 30, b"NaN", b"[" * 99, b"../"])
    change = some.tuples(some.integers(0, len(seed)), some.integers(0, 9), telling | some.binary(max_size=4))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = seed
        for start, length, new in changes:
            data = data[:start] + new + data[start + length :]
        return data

    return some.lists(change, max_size=4).map(apply)


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_are_read_or_refused(fed: dict[str, Target], examples: settings, tally: Tally, name: str) -> None:
    target = fed[name]
    seeded = some.sampled_from(target.seeds).flatmap(mutated)

    @examples
    @given(some.binary(max_size=99) | seeded)
    def check(data: bytes) -> None:
        tally.did("hostile_inputs")
        target.read(data)

    assert target.read(target.seeds[0])
    check()


def test_every_byte_of_a_table_counts(fed: dict[str, Target], tally: Tally) -> None:
    """Of the header, the metadata rows and the allocation table: none may differ and the .beton open."""
    for place in range(PLACES):
        tally.did("hostile_inputs")
        assert not fed["beton"].read(place.to_bytes(2, "little") + b"\x01")


def test_a_list_is_read_back(tmp_path: Path, examples: settings) -> None:
    file = tmp_path / "list.txt"

    @examples
    @given(some.lists(some.tuples(NAME, PERSON), min_size=1, max_size=9), some.sampled_from([" ", "\t", "  "]))
    def check(rows: list[tuple[str, int]], gap: str) -> None:
        file.write_text("".join(f"{name}{gap}{label}\n" for name, label in rows))
        assert read_labelled_paths(tmp_path, file) == rows
        file.write_text(",".join(str(label) for _, label in rows))
        assert read_identities(file) == sorted({label for _, label in rows})

    check()


def test_a_csv_is_read_back(tmp_path: Path, examples: settings) -> None:
    record = some.builds(
        Record, NAME, PERSON, some.integers(0, 99), some.sampled_from(Modality), some.sampled_from(["train", "test"])
    )

    @examples
    @given(some.lists(record, max_size=9))
    def check(records: list[Record]) -> None:
        rows = [f"{r.image},{r.person},{r.camera},{r.modality.name.lower()},{r.split}\n" for r in records]
        (tmp_path / "records.csv").write_text(",".join(COLUMNS) + "\n" + "".join(rows))
        assert list_records(tmp_path) == records

    check()


def test_a_manifest_is_read_back(tmp_path: Path, examples: settings) -> None:
    """Of any paths, also those that are no UTF-8 and come as surrogates."""
    beton = tmp_path / "test.beton"
    path = some.text(max_size=9) | some.binary(max_size=9).map(lambda name: name.decode(errors="surrogateescape"))
    number = some.integers(0, 2**63 - 1)
    row = some.tuples(path, number, number, some.integers(0, 2), some.text(max_size=5), some.integers(0, 2**32 - 1))
    text, size = some.text(max_size=9), some.integers()

    @examples
    @given(
        some.builds(
            Manifest, text, text, size, size, text, text, size, some.booleans(), text, size, text, text,
            some.dictionaries(text, text, max_size=3), some.lists(row.map(list), min_size=1, max_size=9),
            some.dictionaries(some.from_regex(r"[a-z]{1,9}-[1-9][0-9]?", fullmatch=True), some.just([0]), max_size=3),
        )
    )  # fmt: skip
    def check(manifest: Manifest) -> None:
        manifest_path(beton).write_text(manifest.to_json())
        assert read_manifest(beton) == manifest

    check()


def places(value: object) -> Iterator[tuple[object, ...]]:
    """The keys that lead to every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield ()
    for key, part in inner:
        yield from ((key, *rest) for rest in places(part))


def test_a_manifest_with_another_value_is_refused_or_says_the_same(
    tmp_path: Path, examples: settings, tally: Tally
) -> None:
    """What the file itself can tell is compared: a label, size, checksum or kind of storing that differs is refused."""
    opening = Opening(tmp_path / "opening")
    good = json.loads(opening.manifest)
    # Of which only the manifest knows.
    free = {"dataset", "filter", "tools", "source_fingerprint", "sha256", "infrared_grey", "trials", "part"}

    @examples
    @given(some.sampled_from(list(places(good))), ANY_JSON)
    def check(place: tuple, value: object) -> None:
        tally.did("hostile_inputs")
        body = json.loads(opening.manifest)
        inner = body
        for key in place[:-1]:
            inner = inner[key]
        if place:
            inner[place[-1]] = value
        opened = opening.read_manifest(json.dumps(body if place else value).encode())
        unseen = place and (place[0] in free or (place[0] == "samples" and place[2:] in ((0,), (4,))))
        assert not opened or unseen or body == good, f"{place} = {value!r} was accepted"

    check()


def test_a_fault_would_be_seen(fed: dict[str, Target], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that lets another error out, or opens what was changed, fails these tests."""
    monkeypatch.setattr("ffcv_convert.datasets.files.is_number", lambda text: True)
    with pytest.raises(ValueError, match="invalid literal for int"):
        fed["lists"].read(b"a.jpg x\n")
    monkeypatch.setattr("ffcv_convert.schema.manifest._difference", lambda *_: None)
    with pytest.raises(AssertionError, match="opened although changed"):
        fed["beton"].read(b"\x58\x00\x01")
