"""The checks of every list of records."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.records import Record, check_records
from tests.support.refusals import refusal


def records_of(*rows: tuple[int, Modality, str]) -> Sequence[Record]:
    return [
        Record(f"{number}.jpg", person, 0, modality, split) for number, (person, modality, split) in enumerate(rows)
    ]


@pytest.mark.parametrize("split", ["train", "all"])
def test_training_on_infrared_and_sketch_at_once_is_refused(split: str) -> None:
    rows = [(1, Modality.VISIBLE, split), (1, Modality.INFRARED, split)]
    sketched = [(2, Modality.VISIBLE, split), (2, Modality.SKETCH, split)]
    check_records(records_of(*rows), Path("set"))
    check_records(records_of(*sketched), Path("set"))
    check_records(records_of(*rows, (2, Modality.VISIBLE, "test"), (2, Modality.SKETCH, "test")), Path("set"))
    with refusal(DataError, "set", "infrared", "sketch"):
        check_records(records_of(*rows, *sketched), Path("set"))


@pytest.mark.parametrize("split", ["train", "all"])
def test_an_identity_in_one_modality_is_refused_where_it_trains(split: str) -> None:
    rows = [(1, Modality.VISIBLE, split), (1, Modality.INFRARED, split)]
    check_records(records_of(*rows, (2, Modality.VISIBLE, "test")), Path("set"))
    with refusal(DataError, "set", "identity 2", "infrared"):
        check_records(records_of(*rows, (2, Modality.INFRARED, split)), Path("set"))
