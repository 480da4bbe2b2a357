"""The log: every sink gets every line, from the main process alone; the speed that is told of it."""

from pathlib import Path

import torch

from dns.training.log import JsonLines, Line, MetricsLog, epoch_seconds
from ffcv_convert.common.world import World

CPU = torch.device("cpu")


class Kept:
    def __init__(self) -> None:
        self.lines: list[Line] = []

    def write(self, line: Line) -> None:
        self.lines.append(line)


def test_every_sink_gets_every_line(tmp_path: Path) -> None:
    kept, lines = Kept(), JsonLines(tmp_path / "log.jsonl")
    log = MetricsLog([kept, lines], World(CPU))
    log.write("train", step=1, total=0.5)
    log.write("eval", step=1, rank1=0.25)
    assert kept.lines == [{"kind": "train", "step": 1, "total": 0.5}, {"kind": "eval", "step": 1, "rank1": 0.25}]
    assert lines.read("eval") == kept.lines[1:]


def test_the_main_process_alone_writes() -> None:
    kept = Kept()
    MetricsLog([kept], World(CPU, rank=1, size=2)).write("train", step=1)
    assert kept.lines == []


def test_an_epoch_s_seconds_are_of_those_that_were_not_interrupted() -> None:
    epochs = [{"seconds": 2.0, "images": 20}, {"seconds": 1.0, "images": 5}, {"seconds": 4.0, "images": 20}]
    assert epoch_seconds(epochs, images=20) == 3.0
    assert epoch_seconds(epochs, images=99) is None
