"""Answers the searches of a batch together: one call of the network a modality, one pass over the rows a filter."""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from dns.search.answer import Answer, Question, answer_together
from dns.search.asking import as_json, check_cameras, crop_of
from dns.search.network import SearchNetwork
from dns.serve.asked import Asked, told
from dns.serve.library import Opened
from dns.serve.refused import Refused, mistaken
from ffcv_convert.common.errors import UserError
from ffcv_convert.decoding import decode_bytes

IMAGE = "the image"
Key = TypeVar("Key")


class Search(NamedTuple):
    """content: the bytes of an image file."""

    content: bytes
    asked: Asked


def answer_all(
    opened: Opened, network: SearchNetwork, searches: Sequence[Search], device: torch.device
) -> list[bytes | Refused]:
    """Return the answer to each search as JSON, or its refusal. Raises a UserError where the index or the network
    fails, and with them all searches."""
    crops: dict[int, np.ndarray] = {}
    found: dict[int, bytes | Refused] = {}
    for number, search in enumerate(searches):
        try:
            crops[number] = _crop(opened, network, search)
        except UserError as error:
            found[number] = mistaken(error)
    vectors = _embedded(network, searches, crops)
    for chosen, numbers in _grouped((searches[number].asked.chosen, number) for number in crops):
        asked = [searches[number].asked for number in numbers]
        questions = [
            Question(vectors[number], one.modality, one.hits, one.fpir)
            for number, one in zip(numbers, asked, strict=True)
        ]
        answers = answer_together(opened.index, questions, chosen, calibration=opened.calibration, device=device)
        for number, one, own in zip(numbers, asked, answers, strict=True):
            found[number] = _json(opened, one, own)
    return [found[number] for number in range(len(searches))]


def _crop(opened: Opened, network: SearchNetwork, search: Search) -> np.ndarray:
    """Check what is asked, and decode. One image is decoded at a time, and only its crop is kept."""
    check_cameras(opened.name, opened.cameras, search.asked.chosen)
    network.check(search.asked.modality)
    return crop_of(decode_bytes(search.content, IMAGE).pixels, IMAGE, search.asked.box, network.size_px)


def _embedded(
    network: SearchNetwork, searches: Sequence[Search], crops: dict[int, np.ndarray]
) -> dict[int, np.ndarray]:
    vectors: dict[int, np.ndarray] = {}
    for modality, numbers in _grouped((searches[number].asked.modality, number) for number in crops):
        vectors_BD = network.embed(np.stack([crops[number] for number in numbers]), modality)
        vectors |= dict(zip(numbers, vectors_BD, strict=True))
    return vectors


def _grouped(pairs: Iterable[tuple[Key, int]]) -> Iterable[tuple[Key, list[int]]]:
    groups: dict[Key, list[int]] = {}
    for key, number in pairs:
        groups.setdefault(key, []).append(number)
    return groups.items()


def _json(opened: Opened, asked: Asked, answers: Sequence[Answer]) -> bytes:
    content = {"index": opened.name, **told(asked), "answers": as_json(answers)}
    return json.dumps(content, allow_nan=False).encode()
