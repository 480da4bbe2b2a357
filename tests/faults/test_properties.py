"""Any bytes in lists, CSV files, manifests, .beton files and images are read correctly or refused by a DataError."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ffcv_convert.beton import Manifest, Modality, manifest_path, read_manifest
from ffcv_convert.datasets.custom import COLUMNS, list_records
from ffcv_convert.datasets.files import read_identities, read_labelled_paths
from ffcv_convert.records import Record
from tests.faults.conftest import Tally
from tests.faults.readers import NAMES, PLACES, Opening, Target, targets
from tests.faults.strategies import ANY_JSON, mutated, places, with_value

pytestmark = pytest.mark.usefixtures("little_memory")

# Plain names that any list can hold: no blank or comma, no dot alone, nothing that ends a line.
NAME = some.from_regex(re.compile(r"[A-Za-z0-9_-]{1,9}(/[A-Za-z0-9_-]{1,9}){0,2}\.jpg", re.ASCII), fullmatch=True)
PERSON = some.integers(0, 10**18 - 1)


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fed"))


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
    """A changed byte in header, metadata rows or allocation table stops the .beton from opening."""
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
    """With any paths, also those that are not UTF-8 and become surrogates."""
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


def test_a_manifest_with_another_value_is_refused_or_says_the_same(
    tmp_path: Path, examples: settings, tally: Tally
) -> None:
    """With a checksum of its own, whatever differs is refused. Without one, as older ones are, what the file
    itself can tell is compared: a label, size, image's checksum or kind of storing that differs is refused."""
    opening = Opening(tmp_path / "opening")
    good = json.loads(opening.manifest)
    unsealed = {key: value for key, value in good.items() if key != "checksum"}
    # Of which only the manifest knows.
    free = {"dataset", "filter", "tools", "source_fingerprint", "sha256", "infrared_grey", "trials", "part"}

    @examples
    @given(some.sampled_from(list(places(unsealed))), ANY_JSON, some.booleans())
    def check(place: tuple, value: object, sealed: bool) -> None:
        tally.did("hostile_inputs")
        body = with_value(good if sealed else unsealed, place, value)
        opened = opening.read_manifest(json.dumps(body).encode())
        unseen = place and (place[0] in free or (place[0] == "samples" and place[2:] in ((0,), (4,))))
        assert not opened or body == unsealed or (unseen and not sealed), f"{place} = {value!r} was accepted"

    assert opening.read_manifest(json.dumps(unsealed).encode())
    check()


def test_a_fault_would_be_seen(fed: dict[str, Target], monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests fail for a reader that raises another error or opens a changed file."""
    monkeypatch.setattr("ffcv_convert.datasets.files.is_number", lambda text: True)
    with pytest.raises(ValueError, match="invalid literal for int"):
        fed["lists"].read(b"a.jpg x\n")
    monkeypatch.setattr("ffcv_convert.beton.manifest._difference", lambda *_: None)
    with pytest.raises(AssertionError, match="opened although changed"):
        fed["beton"].read(b"\x58\x00\x01")
