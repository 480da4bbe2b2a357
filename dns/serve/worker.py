"""The thread that computes. It alone touches the index and the network; the event loop only waits for it.

What waits when the thread is free makes a batch. Nobody waits for others to come: the first search of a quiet minute
is a batch of its own, and those that come meanwhile share the next one.
"""

import queue
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import torch

from dns.serve.library import Library
from dns.serve.metrics import Histogram
from dns.serve.refused import Refused
from dns.serve.searching import Search, answer_all
from ffcv_convert.common.errors import UserError

BATCH = 16  # searches that are answered together
LOOK_S = 1.0  # how often an idle thread looks whether the index has changed
NOT_NOW = {"Retry-After": "10"}
FAILED = "the service failed. Its standard error says why"


class Job(NamedTuple):
    """A search, or the number of a row whose small image is wanted. done: bytes; None for a row that is not there."""

    work: Search | int
    done: "Future[bytes | None]"


class Worker(threading.Thread):
    """In a `with` block it runs. library: the index; batches: gets the size of each batch."""

    def __init__(self, library: Library, batches: Histogram):
        super().__init__(name="search")
        self.library, self._batches = library, batches
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def __enter__(self) -> "Worker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End after the batch that is being answered."""
        self._jobs.put(None)
        self.join()

    def submit(self, work: Search | int) -> "Future[bytes | None]":
        """Let the thread do it. The future raises Refused."""
        job = Job(work, Future())
        self._jobs.put(job)
        return job.done

    def waiting(self) -> int:
        return self._jobs.qsize()

    def run(self) -> None:
        while (jobs := self._taken()) is not None:
            # Each by itself, or a small image that is damaged would fail the searches that came with it.
            for job in jobs:
                if isinstance(job.work, int):
                    self._try([job], self._look_up)
            self._try([job for job in jobs if isinstance(job.work, Search)], self._search)

    def _try(self, jobs: list[Job], do: Callable[[list[Job]], None]) -> None:
        try:
            do(jobs)
        except UserError as error:  # the index or the network cannot be used: later they may be usable again
            _refuse(jobs, Refused(503, error, NOT_NOW))
        except Exception:
            traceback.print_exc(file=sys.stderr)
            _refuse(jobs, Refused(500, FAILED))

    def _taken(self) -> list[Job] | None:
        """Return what waits: a batch at most, nothing after LOOK_S seconds without a job; None at the end."""
        jobs: list[Job] = []
        try:
            job = self._jobs.get(timeout=LOOK_S)
            while job is not None:
                if job.done.set_running_or_notify_cancel():  # False: nobody waits for it any longer
                    jobs.append(job)
                if len(jobs) == BATCH:
                    return jobs
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs
        return None

    def _look_up(self, jobs: list[Job]) -> None:
        (job,) = jobs
        assert isinstance(job.work, int)
        job.done.set_result(self.library.now().thumbnail(job.work))

    def _search(self, jobs: list[Job]) -> None:
        """Answer a batch. Without a search, look whether the index has changed."""
        opened = self.library.now()
        if not jobs:
            return
        self._batches.add(len(jobs))
        searches = [job.work for job in jobs if isinstance(job.work, Search)]
        for job, answer in zip(jobs, answer_all(opened, self.library.network, searches, self._device), strict=True):
            if isinstance(answer, Refused):
                job.done.set_exception(answer)
            else:
                job.done.set_result(answer)


def _refuse(jobs: list[Job], refused: Refused) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(refused)
