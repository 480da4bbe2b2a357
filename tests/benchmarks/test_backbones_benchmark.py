"""The table of backbones: every pair that fits, each with its own recipe, and what its figures are made of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import backbones, harness, page
from dns.backbones import ARCHITECTURES
from dns.methods import METHODS

NAMES, CHOSEN = ("resnet10_half", "vit_tiny_patch16"), ("dns", "caj", "baseline")


@pytest.fixture(scope="module")
def found(converted_layout: Callable[[str], Path]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "drawn_set", lambda: (None, converted_layout("sysu")))
        patch.setattr(backbones, "ROUNDS", 1)
        patch.setattr(backbones, "METHODS", {name: METHODS[name] for name in CHOSEN})
        return backbones.measure(NAMES)


def test_every_method_that_fits_has_a_row(found: dict[str, Any]) -> None:
    rows = {(row["architecture"], row["method"]): row for row in found["rows"]}
    assert list(rows) == [*((NAMES[0], name) for name in CHOSEN), (NAMES[1], "dns"), (NAMES[1], "baseline")]
    assert len(set(backbones.fitting(list(ARCHITECTURES)))) > 50
    assert rows[NAMES[0], "caj"]["tflop"] > 1.3 * rows[NAMES[0], "baseline"]["tflop"]  # its second view
    block = 12 * 192**2 + 13 * 192
    stem = 192 * (3 * 16**2 + 1 + 14 * 14) + 4 * block  # patches, positions, a third of the blocks
    shared = 8 * block + 2 * 192 + 2 * 192  # the other blocks, the final norm, the neck
    identities = (rows[NAMES[1], "baseline"]["parameters"] - 2 * stem - shared) / 192
    assert identities == int(identities) > 1


def test_the_table_says_what_was_measured(found: dict[str, Any]) -> None:
    row = found["rows"][0]
    speed = row["images_per_s"]
    assert speed["median"] == speed["rounds"][0] > 0
    first = backbones.table(found).splitlines()[2].strip("| ").split(" | ")
    assert first == [
        *(row["architecture"], row["method"], f"{row['parameters'] / 1e6:.1f}", harness.digits(row["tflop"])),
        *[harness.digits(speed["median"])] * 3,
        harness.digits(speed["median"] / row["images"] * row["tflop"]),
    ]
    assert page._table("backbones-amd-epyc-2-cores-2026-11-30", found) == backbones.table(found)


def test_an_unknown_backbone_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert backbones.main(["resnet51"]) == 2
    assert "error: unknown backbone 'resnet51'" in capsys.readouterr().err
