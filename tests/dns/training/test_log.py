"""The log: every sink gets every line, from the main process alone; the speed that is told of it."""

from pathlib import Path

import torch

from dns.training.log import JsonLines, Line, MetricsLog, speed
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


def test_speed_is_of_all_epochs_and_of_those_that_were_not_interrupted() -> None:
    epochs = [{"seconds": 2.0, "images": 20}, {"seconds": 1.0, "images": 5}, {"seconds": 4.0, "images": 20}]
    assert speed(epochs, images=20) == {"images_per_s": 45 / 7, "epoch_s": 3.0}
    assert speed(epochs, images=99)["epoch_s"] is None
    assert speed([], images=20) == {"images_per_s": 0.0, "epoch_s": None}


def test_work_is_weighted_by_time_where_the_number_of_devices_changed() -> None:
    one, two = ({"seconds": 10.0, "images": images, "tflops": 150.0, "mfu": 0.15} for images in (48_000, 96_000))
    assert speed([one, two], images=48_000) == {"images_per_s": 7200.0, "tflops": 150.0, "mfu": 0.15, "epoch_s": 10.0}
    of_a_cpu = {"seconds": 10.0, "images": 100, "tflops": 1.0}
    assert speed([one, of_a_cpu], images=100)["tflops"] == 75.5
    assert "mfu" not in speed([one, of_a_cpu], images=100)
