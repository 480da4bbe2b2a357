"""A damaged `.beton` is refused, or the damaged sample is named when it is read, or the damage is harmless.

Hundreds of damages of every kind, in raw and JPEG files, in children: a crash is seen as a crash.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from ffcv_convert.beton import manifest_path, open_beton, read_manifest
from ffcv_convert.beton.manifest import SAMPLE_COLUMNS
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import Encoding, ImageFormat
from pipelines.decoder import Decoder
from pipelines.prefetch import Prefetcher
from tests.faults.conftest import Tally
from tests.faults.corrupt import MOMENTS, damages, moment_of, run_damages
from tests.faults.training_child import Child, server

GROUP = 60  # damages a child
LIMIT_S = 5
pytestmark = pytest.mark.timeout(600)
Betons = Callable[[str], Path]


@pytest.fixture(scope="module")
def betons(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Betons]:
    """encoding -> train.beton with 96 images of 192 x 96. Read only."""
    root = tmp_path_factory.mktemp("beton")
    for encoding in ("raw", "jpeg"):
        convert(synthetic.DATASET, data_root, root / encoding, ImageFormat(192, 96, encoding), workers=2)
        beton = root / encoding / "synthetic" / "train.beton"
        manifest = read_manifest(beton)
        for row, other in zip(manifest.samples, np.roll(manifest.column("crc32"), 1).tolist(), strict=True):
            row[SAMPLE_COLUMNS.index("crc32")] = other
        beton.with_name("other_images.json").write_text(manifest.to_json())
    with server():
        yield lambda encoding: root / encoding / "synthetic" / "train.beton"


def outcomes(
    betons: Betons,
    encoding: Encoding,
    work: Path,
    numbers: range,
    *,
    limit_s: float = LIMIT_S,
    inject: Callable[[], None] | None = None,
) -> Iterator[tuple[str, str]]:
    """(damage, outcome) for the damages of these numbers."""
    intact = betons(encoding)
    others = [intact.with_name("test.json"), intact.with_name("other_images.json")]
    others.append(manifest_path(betons("jpeg" if encoding == "raw" else "raw")))
    first = numbers.start
    while first < numbers.stop:
        end = min(first + GROUP, numbers.stop)
        child = Child(partial(run_damages, intact, others, work, first, end, limit_s), inject)
        code, output = child.end()
        lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"number"')]
        seen = {line["number"]: line["outcome"] for line in lines if "outcome" in line}
        begun = {line["number"]: line["what"] for line in lines if "what" in line}
        for number, what in begun.items():
            how = "hung" if "Timeout (" in output else "crashed"
            yield f"{number}: {what}", seen.get(number, f"{how}: ended with {code}: {output[-2000:]}")
        if not begun:
            pytest.fail(f"ended with {code} before the first damage: {output[-2000:]}")
        first = max(begun) + 1


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_no_damage_is_silent(
    betons: Betons, encoding: Encoding, tmp_path: Path, tally: Tally, times: Callable[[int, int], int]
) -> None:
    """Refused, named or harmless; never a crash, a hang, a wrong image or a wrong label."""
    count = times(40, 450)
    seen: Counter[str] = Counter()
    for what, outcome in outcomes(betons, encoding, tmp_path, range(count)):
        kind, _, more = outcome.partition(": ")
        tally.did("damages", kind in ("refused", "named"))  # what is harmless does not count
        if more:
            tally.wrong(kind, f"{encoding}, {what}: {more}")
        seen[kind] += 1
    print(encoding, dict(seen))
    assert sum(seen.values()) == count
    assert min(seen[kind] for kind in ("refused", "named", "harmless")) > 0


def unchecked(owner: Any, name: str, instead: Callable) -> None:
    """Called in the child."""
    setattr(owner, name, instead)


def nothing(stream: Prefetcher, indices: np.ndarray) -> None:
    pass


def none_of(decoder: Decoder, indices: np.ndarray) -> np.ndarray:
    return indices[:0]


def sleep(*arguments: Any) -> None:
    time.sleep(100)


@pytest.mark.parametrize(
    ("owner", "name", "instead", "what", "kind"),
    [
        (Prefetcher, "verify", nothing, "an image zeroed", "silent"),
        (Decoder, "cut_off", none_of, "cut to", "crashed"),
        (Prefetcher, "damaged", sleep, "an image zeroed", "hung"),
    ],
)
def test_without_the_checks_damage_is_silent_crashes_or_hangs(
    betons: Betons, tmp_path: Path, owner: type, name: str, instead: Callable, what: str, kind: str
) -> None:
    """Shows that the test above can fail."""
    series = damages(open_beton(betons("raw")).structure, [])
    wanted = [
        number
        for number, damage in zip(range(200), series, strict=False)
        if what in damage.what and moment_of(Random(number)) != MOMENTS[0]  # else it is refused as it is opened
    ]
    inject = partial(unchecked, owner, name, instead)
    found: list[str] = []
    for number in wanted:
        found += [
            outcome
            for _, outcome in outcomes(
                betons,
                "raw",
                tmp_path,
                range(number, number + 1),
                limit_s=1 if kind == "hung" else LIMIT_S,
                inject=inject,
            )
        ]
        if found[-1].startswith(kind):
            return
    pytest.fail(f"not {kind}: {found}")
