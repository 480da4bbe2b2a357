"""Writes the numbers that a run reports while it trains: lines that every sink gets. log.jsonl is the first sink.

TensorBoard is another one (tensorboard.py). To add one more, write a class with `write` and `show`, and add it to the
list of `RunFolder.log`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from dns.evaluation.results import write_text, writing
from ffcv_convert.common.errors import ReportError
from ffcv_convert.common.world import World

Line = Mapping[str, Any]


class Sink(Protocol):
    def write(self, line: Line) -> None:
        """Take a line: kind (run, train, speed, epoch or eval), epoch, step, and the numbers of that kind by name."""

    def show(self, name: str, picture: Path, step: int) -> None:
        """Take a picture, a file that Pillow reads. A sink for numbers does nothing."""


class MetricsLog:
    """Writes each line to every sink, on the main process only."""

    def __init__(self, sinks: Sequence[Sink], world: World):
        self._sinks = sinks if world.is_main else ()

    def write(self, kind: str, **values: Any) -> None:
        for sink in self._sinks:
            sink.write({"kind": kind, **values})

    def show(self, name: str, picture: Path, step: int) -> None:
        for sink in self._sinks:
            sink.show(name, picture, step)


class JsonLines:
    """A sink that writes one JSON object a line. It is also read back: a resumed run cuts it to its checkpoint."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, line: Line) -> None:
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def show(self, name: str, picture: Path, step: int) -> None:
        """Do nothing: lines hold no pictures."""

    def read(self, kind: str) -> list[Line]:
        return [line for line in self._lines() if line["kind"] == kind]

    def truncate(self, epoch: int, iteration: int, *, evaluated: bool) -> None:
        """Drop the lines beyond `iteration` of `epoch`, and an evaluation there unless `evaluated`: a killed run may
        have logged more than its checkpoint holds."""

        def known(line: Line) -> bool:
            at = (line["epoch"], line.get("iteration", 0), line["kind"] == "eval")
            return at <= (epoch, iteration, evaluated)

        if self.path.exists():
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in self._lines() if known(line)))

    def _lines(self) -> list[Line]:
        """Return the lines without the half line that a killed run may have left at the end. Raises ReportError."""
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        lines, read = text.splitlines(), []
        for number, line in enumerate(lines, start=1):
            try:
                read.append(json.loads(line))
            except ValueError:
                if number < len(lines):
                    raise ReportError(
                        f"{self.path}: line {number} is damaged. Remove it, then run the same command again"
                    ) from None
        return read


def speed(epochs: Sequence[Line], images: int) -> dict[str, float | None]:
    """Average the log's `epoch` lines: images_per_s, tflops and mfu over all of them, see throughput.Work; epoch_s, the
    median seconds of those that were not interrupted, with `images` each, None if there is none.

    tflops and mfu are left out where a line lacks them. The lines may be of other cards, or of another number of them.
    """
    whole = [epoch["seconds"] for epoch in epochs if epoch["images"] == images]
    seconds = max(sum(epoch["seconds"] for epoch in epochs), 1e-9)  # the log may be missing
    means = {
        name: sum(epoch[name] * epoch["seconds"] for epoch in epochs) / seconds
        for name in ("tflops", "mfu")
        if epochs and all(name in epoch for epoch in epochs)
    }
    images_per_s = sum(epoch["images"] for epoch in epochs) / seconds
    return {"images_per_s": images_per_s, **means, "epoch_s": median(whole) if whole else None}
