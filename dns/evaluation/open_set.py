"""Measures how often "not in the gallery" is answered wrongly (ISO/IEC 19795-1): FNIR at an FPIR of 1 and of 10 %.

A seeded half of the gallery's identities is left out of the gallery, then the other half. A query of an identity that
is left out should find nobody: its nearest image is a false positive if it is nearer than the threshold. A query of an
identity that stayed should find itself: it is a miss if the nearest image is of another identity, or not nearer than
the threshold. Each query is searched once in either way. The threshold is the largest that lets through at most the
stated share of the first kind (FPIR); the share of misses of the second kind is the FNIR, DIR = 1 - FNIR.

A threshold that fewer than DECIDING false positives decide says little, and no FNIR is given then.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch

from dns.evaluation.trial import Compared

FPIRS = (0.01, 0.1)
DECIDING = 10  # false positives
SEED = 0


class Searches(NamedTuple):
    """stranger_Q: distance of the nearest image of each query while its identity is left out. own_Q: the same while it
    stays, infinite where the nearest image is of another identity. gallery: images left, on average."""

    stranger_Q: np.ndarray
    own_Q: np.ndarray
    gallery: float


def search(compared: Compared, seed: int = SEED) -> Searches:
    """Search every query with a match in both halves of the gallery. Of equal distances the first is the nearest."""
    query, gallery, distance_QG, excluded_QG = compared
    distance = distance_QG.double()
    same = query.person[:, None] == gallery.person
    if excluded_QG is not None:
        distance = distance.masked_fill(excluded_QG, torch.inf)
        same = same & ~excluded_QG
    matched, person = same.any(dim=1).cpu().numpy(), query.person
    persons = np.unique(gallery.person.cpu().numpy())
    order = np.random.default_rng(seed).permutation(persons)
    stranger = torch.full((len(person),), torch.inf, dtype=torch.float64, device=distance.device)
    own, left = stranger.clone(), []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        out = torch.from_numpy(half).to(person.device)
        gone = torch.isin(gallery.person, out)
        left.append(int((~gone).sum()))
        nearest, place = distance.masked_fill(gone, torch.inf).min(dim=1)
        right = gallery.person[place] == person  # of an empty gallery, infinitely far
        strange = torch.isin(person, out)
        stranger = torch.where(strange, nearest, stranger)
        own = torch.where(~strange & right, nearest, own)
    return Searches(stranger.cpu().numpy()[matched], own.cpu().numpy()[matched], mean(left))


def fnir(searches: Searches, fpir: float) -> float | None:
    """Return the share of misses at the largest threshold whose share of false positives is at most fpir; None where
    fewer than DECIDING of these decide."""
    allowed = int(fpir * len(searches.stranger_Q) + 1e-9)
    if allowed < DECIDING:
        return None
    threshold = np.sort(searches.stranger_Q)[allowed]  # a smaller distance is a hit
    return float((searches.own_Q >= threshold).mean())


class Detection(NamedTuple):
    """The DIR = 1 - FNIR at some FPIRs, those that DECIDING false positives or more decide; mean over the trials."""

    fpir: np.ndarray
    dir: np.ndarray


def detection(trials: Sequence[Searches], points: int = 50) -> Detection:
    """Return the curve at about so many FPIRs, evenly spaced by their logarithm; none where no FPIR is decided."""
    queries = min(len(one.stranger_Q) for one in trials)
    if queries <= DECIDING:
        return Detection(np.zeros(0), np.zeros(0))
    allowed = np.unique(np.geomspace(DECIDING, queries - 1, points).round())
    found = [[fnir(one, count / queries) for count in allowed] for one in trials]
    return Detection(allowed / queries, 1 - np.array(found, dtype=float).mean(axis=0))


def open_set(searches: Sequence[Searches]) -> dict[str, Any]:
    """Return what a row says of the open set: FNIR by FPIR, mean over the trials, with the gallery's size."""
    found: dict[str, Any] = {}
    for fpir in FPIRS:
        each = [fnir(one, fpir) for one in searches]
        known = [value for value in each if value is not None]
        found[f"fnir_at_{fpir:g}"] = mean(known) if len(known) == len(each) else None
    sizes = {"gallery": mean(one.gallery for one in searches), "queries": min(len(one.own_Q) for one in searches)}
    return {**found, **sizes, "seed": SEED}
