"""A map of some identities' embeddings: t-SNE of scikit-learn, of the extra `report`."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dns.evaluation.protocols import TestSet
from dns.report.chart import Series
from ffcv_convert.beton.labels import Modality

IDENTITIES, IMAGES = 20, 10  # identities of a map, and images of each in each modality
PERPLEXITY, ITERATIONS = 30.0, 500


class EmbeddingMap(NamedTuple):
    """perplexity, seed: of t-SNE; series: one for each identity and modality."""

    perplexity: float
    seed: int
    series: list[Series]


def available() -> bool:
    return find_spec("sklearn") is not None


def embedding_map(test: TestSet, embedding_ND: Tensor, *, seed: int = 0) -> EmbeddingMap:
    """Of IDENTITIES identities that have images in two modalities, drawn with `seed`."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = mapped_rows(test, seed)
    embedding = embedding_ND[rows].double().cpu().numpy()
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    with threadpool_limits(1):  # its threads wait by spinning, and gain nothing on so few points
        settings = {"perplexity": perplexity, "max_iter": ITERATIONS, "init": "pca", "random_state": seed}
        place = TSNE(2, **settings).fit_transform(embedding)
    person, modality = test.person_N[rows], test.modality_N[rows]
    series = []
    for colour, who in enumerate(np.unique(person).tolist()):
        for shape in np.unique(modality[person == who]).tolist():
            there = (person == who) & (modality == shape)
            name = f"identity {who}, {Modality(shape).name.lower()}"
            x, y = place[there].astype(float).T
            series.append(Series(name, x.tolist(), y.tolist(), colour=colour, shape=shape))
    return EmbeddingMap(perplexity, seed, series)


def mapped_rows(test: TestSet, seed: int) -> np.ndarray:
    """Rows of the test set, int64: of the drawn identities, at most IMAGES of each in each modality."""
    generator = np.random.default_rng(seed)
    both = [who for who in np.unique(test.person_N) if len(np.unique(test.modality_N[test.person_N == who])) > 1]
    chosen = generator.permutation(np.array(both or np.unique(test.person_N)))[:IDENTITIES]
    rows = []
    for who in np.sort(chosen):
        for modality in np.unique(test.modality_N[test.person_N == who]):
            there = np.flatnonzero((test.person_N == who) & (test.modality_N == modality))
            rows.append(generator.permutation(there)[:IMAGES])
    return np.sort(np.concatenate(rows))
