"""Maps some identities' embeddings, as a chart: t-SNE of scikit-learn, which comes with the extra `report`."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from dns.evaluation.some_rows import EmbeddedRows
from dns.evaluation.trial import TestSet
from dns.report.figures import Chart, Series
from dns.report.study import embedded_rows
from ffcv_convert.beton.labels import Modality

IDENTITIES, IMAGES = 20, 10  # identities of a map, and images of each in each modality
PERPLEXITY, ITERATIONS = 30.0, 500


class EmbeddingMap(NamedTuple):
    """The points of a map. perplexity, seed: t-SNE's; series: one for each identity and modality."""

    perplexity: float
    seed: int
    series: list[Series]


def available() -> bool:
    return find_spec("sklearn") is not None


def embedding_map(test: TestSet, embedding_ND: EmbeddedRows, *, seed: int = 0) -> EmbeddingMap:
    """Compute the map of IDENTITIES identities that have images in two modalities, drawn with `seed`."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = mapped_rows(test, embedded_rows(embedding_ND), seed)
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


def mapped_rows(test: TestSet, known: np.ndarray, seed: int) -> np.ndarray:
    """Draw rows of the test set among the known ones, int64: at most IMAGES images of each drawn identity in each
    modality."""
    generator = np.random.default_rng(seed)
    person, of = test.person_N[known], test.modality_N[known]
    both = [who for who in np.unique(person) if len(np.unique(of[person == who])) > 1]
    chosen = generator.permutation(np.array(both or np.unique(person)))[:IDENTITIES]
    rows = []
    for who in np.sort(chosen):
        for modality in np.unique(of[person == who]):
            there = known[(person == who) & (of == modality)]
            rows.append(generator.permutation(there)[:IMAGES])
    return np.sort(np.concatenate(rows))


def map_chart(found: EmbeddingMap, feature: str) -> Chart:
    """Return the chart of a map. feature: the embeddings' name in reports."""
    shapes = "circle: visible, triangle: infrared, square: sketch"
    identities = len({one.colour for one in found.series})
    caption = (
        f"t-SNE of {feature} of {identities} identities, perplexity {found.perplexity:.3g}, seed {found.seed}. Colour: "
        f"identity; {shapes}."
    )
    return Chart("map", "Map of embeddings", caption, "", "", found.series, kind="points", legend=False)
