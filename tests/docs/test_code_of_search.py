"""The lines of docs/search.md that turn a detector's boxes into our CSV."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dns.search.lists import read_boxes
from dns.search.sightings import Box, LeftOut
from tests.conftest import REPOSITORY


class Detections(SimpleNamespace):
    """What the lines use of supervision's sv.Detections."""

    def __len__(self) -> int:
        return len(self.xyxy)


@pytest.mark.parametrize("tracker_id", [np.array([4, 9]), None])
def test_detections_become_sightings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker_id: object) -> None:
    text = (REPOSITORY / "docs" / "search.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    detections = Detections(xyxy=np.array([[1.5, 2, 30, 80], [5, 6, 50, 90]], np.float32), tracker_id=tracker_id)
    monkeypatch.chdir(tmp_path)
    exec(code, {"people": [("a/1.jpg", "2026-03-02T08:00:00", detections)]})
    found = read_boxes(tmp_path / "boxes.csv", tmp_path, left_out=LeftOut())
    assert [one.box for one in found] == [Box(1.5, 2, 28.5, 78), Box(5, 6, 45, 84)]
    assert [one.track for one in found] == (["4", "9"] if tracker_id is not None else ["", ""])
    assert {(one.image, one.time_ms, one.camera, one.modality.name) for one in found} == {
        ("a/1.jpg", 1_772_438_400_000, "gate", "VISIBLE")
    }
