"""Writes the sections of a report on one network. Each computes what it shows; SECTIONS, below, lists them in order."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.tables import Row, below, remarks, table
from dns.report import embedding_map, figures, html, page, saliency
from dns.report.figures import Grid
from dns.report.html import data_uri, thumbnails
from dns.report.page import Parts, left_out_on_error
from dns.report.ranked import NEAREST, RankedQuery, query_table, ranked_queries, sheet, spread, to_png
from dns.report.study import Curve, Study, Threshold, camera_pairs, likeness, roc, scores, thresholds
from dns.report.subject import Subject, TrainedNetwork, timings
from dns.training.environment import environment
from dns.training.log import JsonLines
from ffcv_convert.beton.labels import Modality

IMAGE_BYTES = 3_800_000  # limit for all ranked lists of a page together
MISSING = "needs {}, which is not installed here. It comes with the extra `report`: .venv/bin/pip install '.[report]'"
GROUPS = "The 20 queries with the lowest AP, 20 in the middle of the order, and 10 drawn from the others"
FRAMES = (
    "Green, ✓: the right identity; red, ✗: another one; grey and dashed: an image that the protocol excludes, which "
    "has no rank"
)


class Findings(NamedTuple):
    """What the sections show. rows: those of result.json; own: those of the network and the feature that the figures
    show, by protocol; studies: one for each protocol of the subject."""

    subject: Subject
    rows: Sequence[Row]
    own: Mapping[str, Row]
    studies: Sequence[Study]


def show_results(parts: Parts, findings: Findings) -> None:
    """Show the tables of result.json."""
    header, *cells = table(findings.rows)
    parts.tables["results"] = (header, cells)
    note = "Per cent, mean over the trials; ± is one standard deviation. Every row says how it came about."
    warnings = [html.paragraph(f"{remark}.") for row in findings.rows for remark in remarks(row)]
    shown = [html.table(header, cells, caption="All results")]
    for name, (title, (head, *lines)) in zip(("intervals", "open-set"), below(findings.rows), strict=False):
        parts.tables[name] = (head, lines)
        shown.append(html.table(head, lines, caption=title))
    parts.section("results", "Results", html.paragraph(note), *warnings, *shown)


def show_accuracy(parts: Parts, findings: Findings) -> None:
    """Show the CMC, the errors of an open set, the AP of each query and the AP by pair of cameras."""
    subject, own, studies = findings.subject, findings.own, findings.studies
    charts = [figures.cmc(own), *figures.detection_chart(studies), *figures.precision_histogram(studies)]
    grids = [grid for one in studies if (grid := _cameras(one))]
    note = f"Of {subject.how['feature']}, {own[subject.protocols[0]]['checkpoint']}."
    parts.section("accuracy", "Who is found", html.paragraph(note), parts.charts([*charts, *grids]))


def _cameras(one: Study) -> Grid | None:
    """Return the AP by pair of cameras; None where there is one pair, or where a query is a mean over cameras."""
    pairs = camera_pairs(one.compared)
    if pairs.mAP_QG.size < 2 or one.trial.mean_query:
        return None
    return figures.camera_grid(one.protocol, direction(one), pairs)


def direction(one: Study) -> str:
    """Say which modality is searched for in which, as a part of a sentence."""
    protocol = PROTOCOLS[one.protocol]
    query, gallery = Modality(protocol.query).name.lower(), Modality(protocol.gallery).name.lower()
    query, gallery = (gallery, query) if protocol.transposed else (query, gallery)
    return f"{query.capitalize()} queries, {gallery} gallery"


def show_similarity(parts: Parts, findings: Findings) -> None:
    """Show how alike pairs of images are, and a map of embeddings."""
    test, embedding_ND = findings.subject.test, findings.subject.embedding_ND
    charts = [figures.likeness_chart(likeness(test, embedding_ND))]
    note = ""
    if embedding_map.available():
        with left_out_on_error("The map of embeddings") as failed:
            found = embedding_map.embedding_map(test, embedding_ND)
            charts.append(embedding_map.map_chart(found, findings.subject.how["feature"]))
        note = "".join(failed)
    else:
        note = html.paragraph("The map of embeddings", MISSING.format("scikit-learn"))
    parts.section("embeddings", "Embeddings", note, parts.charts(charts))


def show_ranked(parts: Parts, findings: Findings) -> None:
    """Show the ranked lists of each study, and where the network looks."""
    subject, studies = findings.subject, findings.studies
    test, read_pixels = subject.test, subject.pixels
    lists = [ranked_queries(one, test) for one in studies]
    table_lines = [query_table(one, test) for one in studies]
    if table_lines:
        parts.tables["queries"] = (table_lines[0][0], [line for _, lines in table_lines for line in lines])
    for one, queries in zip(studies, lists, strict=True):
        shown = [row for query in queries for row in (query.row, *(near.row for near in query.neighbours))]
        rows = np.unique(np.array(shown, dtype=np.int64))
        pixels = dict(zip(rows.tolist(), read_pixels(rows), strict=True)) if read_pixels else {}
        images = thumbnails(pixels, shown, bytes_left=IMAGE_BYTES // len(studies)) if pixels else {}
        if pixels and queries:
            parts.pictures[f"ranked-{one.protocol}.png"] = to_png(sheet(spread(queries), pixels))
        why = "" if images else " Images are left out; each frame shows the identity's number."
        shows = " The image of a tracklet is its first frame." if one.trial.tracklet else ""
        note = f"{direction(one)}, first trial. {GROUPS}, each with its {NEAREST} nearest images. {FRAMES}.{shows}{why}"
        lines = page.ranked_lists(queries, test, images)
        parts.section(f"ranked-{one.protocol}", f"Ranked lists, {one.protocol}", html.paragraph(note), lines)
    if subject.network and read_pixels and lists:
        _show_saliency(parts, subject.network, lists[0])


def _show_saliency(parts: Parts, network: TrainedNetwork, queries: Sequence[RankedQuery]) -> None:
    if not saliency.available():
        note = html.paragraph("Where the network looks", MISSING.format("captum"))
        parts.section("saliency", "Where the network looks", note)
        return
    note = (
        "Grad-CAM of the last map of features, by captum: what raises the similarity of a query and its nearest right "
        "image. Yellow: most; blue: nothing."
    )
    cells = []
    with left_out_on_error("Where the network looks") as failed:
        for look in saliency.looks(network.evaluator, network.model, queries):
            pictures = ("query", look.query, look.query_pixels), ("found", look.found, look.found_pixels)
            for name, row, pixels in pictures:
                who = f"identity {network.evaluator.test_set.person_N[row]}"
                shown = html.image(data_uri(pixels, 192), f"{name}, {who}, with what the network looks at")
                cells.append(f'<li class="cell asked">{shown}<b>{name}</b><br>{who}</li>')
    lines = f'<ul class="row">{"".join(cells)}</ul>'
    parts.section("saliency", "Where the network looks", html.paragraph(note), *failed, lines)


def show_training(parts: Parts, findings: Findings) -> None:
    """Show the curves of training, where the checkpoint lies beside the log of its run."""
    lines = JsonLines(findings.subject.file.parent / "log.jsonl")
    curves = {"run": {kind: lines.read(kind) for kind in ("train", "epoch", "eval")}}
    charts = figures.training_charts(curves)
    if charts:
        parts.section("training", "Training", parts.charts(charts))


def show_verification(parts: Parts, findings: Findings) -> None:
    """Show the ROC of each study and a table of thresholds, where a study has pairs of one identity and of two."""
    curves: dict[str, Curve] = {}
    found: list[tuple[str, Threshold]] = []
    for one in findings.studies:
        similarity, same = scores(one.compared)
        if same.any() and not same.all():
            curves[one.protocol] = roc(similarity, same)
            found += [(one.protocol, threshold) for threshold in thresholds(curves[one.protocol])]
    if not curves:
        return
    header = ["protocol", "chosen for", "threshold", "false accepts (%)", "false rejects (%)"]
    lines = [(name, t.reason, t.value, 100 * t.false_accept, 100 * t.false_reject) for name, t in found]
    parts.tables["thresholds"] = (header, lines)
    cells = [(*line[:2], f"{line[2]:.15g}", f"{line[3]:.4g}", f"{line[4]:.4g}") for line in lines]
    note = (
        "Is this the same identity? A pair is accepted where its similarity is at least the threshold. First trial; "
        "pairs that the protocol does not count are left out. Thresholds hold for this checkpoint and this way of "
        "flipping alone, and identities that are not in the test set may need others."
    )
    areas = ". ".join(f"Area under the ROC, {name}: {curve.area:.4f}" for name, curve in curves.items())
    charts = figures.roc_charts(curves)
    drawn = {one.name for chart in charts if chart.name == "det" for one in chart.series}
    missing = ", ".join(name for name in curves if name not in drawn)
    never = f"No threshold gives false accepts and false rejects at once: {missing}." if missing else ""
    parts.section(
        "verification", "Verification", html.paragraph(note, areas + ".", never), parts.charts(charts),
        html.table(header, cells, caption="Thresholds"),
    )  # fmt: skip


def show_model(parts: Parts, findings: Findings) -> None:
    """Show size, checksum, versions and command; of a network, its speed too."""
    subject, network = findings.subject, findings.subject.network
    file = subject.file.read_bytes()
    lines = {
        "checkpoint" if network else "features": subject.file,
        "bytes": f"{len(file):,}",
        "SHA-256": hashlib.sha256(file).hexdigest(),
        "numbers in an embedding": subject.embedding_ND.shape[1],
    }
    timed = _timed(parts, network) if network else []
    if network:
        parameters = sum(parameter.numel() for parameter in network.model.parameters())
        lines["parameters"] = f"{parameters:,}, those that only training uses among them"
        lines["network"] = network.config.model.architecture
    lines |= environment(network.evaluator.engine.device if network else torch.device("cpu"))
    lines["command"] = subject.command
    caption = "Model, versions and command" if network else "File, versions and command"
    inside = html.table(["what", "value"], [*lines.items()], caption=caption, mixed=True)
    parts.section("model", "Model and speed" if network else "Features", *timed, inside)


def _timed(parts: Parts, network: TrainedNetwork) -> list[str]:
    """Time the network. Returns the table as HTML, and a sentence on how it was made."""
    evaluator, size_px = network.evaluator, network.size_px
    found = timings(evaluator, network.model, size_px)
    header = ["images in a batch", "ms an image", "calls"]
    parts.tables["speed"] = (header, [[one.batch, one.ms_per_image, one.calls] for one in found])
    how = (
        f"Median of the calls: from uint8 images of {size_px[0]} x {size_px[1]} px on the device to features, flip "
        f"{evaluator.flip}, {evaluator.engine.precision}, not compiled."
    )
    cells = [[one.batch, f"{one.ms_per_image:.2f}", one.calls] for one in found]
    return [html.paragraph(how), html.table(header, cells, caption="Time for an image")]


SECTIONS: Sequence[Callable[[Parts, Findings], None]] = (  # in the order of the page
    show_results,
    show_accuracy,
    show_similarity,
    show_ranked,
    show_training,
    show_verification,
    show_model,
)
