"""Search one's own images of people: python -m dns.search index | search | compact | verify | build | copy

    python -m dns.search index Index --boxes boxes.csv --frames Footage --checkpoint runs/llcm-seed0/best.pt
    make index BOXES=boxes.csv FRAMES=Footage CHECKPOINT=runs/llcm-seed0/best.pt       # the same
    make search QUERY=photo.jpg MODALITY=infrared CAMERAS=1,4 SINCE=2026-03-02T08:00

index     add rows: of boxes in frames, of cropped images, or of embeddings; calibrate; remove rows
search    ask with an image of a person where else it was seen
compact   join the segments of many additions into one
verify    read everything and compare checksums
build     build what search --approximate needs, for indices of many rows
copy      copy the rows to Milvus, for search --from milvus

Options with a point in their names, such as --data.set=sysu or --engine.device=cpu, are those of eval.py.
docs/search.md says more.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from dns.search.lists.fields import MODALITIES, NAMES
from dns.search.times import FORMS, to_ms
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError, user_errors
from ffcv_convert.common.paths import expanded
from ffcv_convert.common.streams import lasting_streams

HITS, FPIR = 20, 0.1
WHOLE = {
    "compact": "join all segments into one",
    "verify": "read and check everything",
    "build": "build what search --approximate needs",
}
STORES, URI = ("milvus",), "milvus.db, which Milvus Lite keeps, or the address of a server: http://..."


def parser() -> argparse.ArgumentParser:
    description, _, more = (__doc__ or "").partition("\n")
    top = argparse.ArgumentParser(
        "python -m dns.search", description=description, epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True)
    _index(commands.add_parser("index", help="add rows, calibrate, or remove rows", allow_abbrev=False))
    _search(commands.add_parser("search", help="ask with an image of a person", allow_abbrev=False))
    for name, help_text in WHOLE.items():
        command = commands.add_parser(name, help=help_text, allow_abbrev=False)
        command.add_argument("index", type=path, metavar="INDEX", help="folder of the index")
    copy = commands.add_parser("copy", help="copy the rows to Milvus", allow_abbrev=False)
    copy.add_argument("index", type=path, metavar="INDEX", help="folder of the index")
    copy.add_argument("--to", choices=STORES, required=True, help="milvus: Milvus Lite or a server")
    copy.add_argument("--uri", required=True, help=URI)
    return top


def _index(command: argparse.ArgumentParser) -> None:
    command.add_argument("index", type=path, metavar="INDEX", help="folder of the index; made where there is none")
    what = command.add_argument_group("what to add")
    what.add_argument("--boxes", type=path, metavar="FILE", help="boxes of people: .csv, .txt (MOT), .json (COCO)")
    what.add_argument("--frames", type=path, metavar="FOLDER", help="the images that the boxes are in")
    what.add_argument("--crops", type=path, metavar="FOLDER", help="cropped images, one person each")
    what.add_argument("--embeddings", type=path, metavar="FILE", help="made elsewhere: .npz, .npy, .csv, .pt, .mat")
    what.add_argument("--camera", help="of all rows, where the list names none")
    what.add_argument("--modality", type=modality, help="of all rows, where the list names none")
    what.add_argument("--start", type=time, metavar="TIME", help="of the first frame of a MOT list")
    what.add_argument("--fps", type=positive, help="frames a second of a MOT list")
    what.add_argument("--images", choices=["true", "false"], default="true", help="keep a small image of each row")
    _network(command)
    known = command.add_argument_group("how similar strangers are")
    known.add_argument("--calibrate", type=path, metavar="FILE", help="labelled boxes in --frames; else the test set's")
    known.add_argument("--dataset", type=str.lower, help="whose test set; by default that of the checkpoint")
    known.add_argument("--beton-root", type=path, default=Path("Beton"), help="folder that holds the converted sets")
    known.add_argument("--trial", type=int, help="RegDB's split, 1 to 10")
    gone = command.add_argument_group("what to remove")
    gone.add_argument("--remove", action="store_true", help="remove the rows of these filters and --modality")
    _filters(gone)


def _search(command: argparse.ArgumentParser) -> None:
    command.add_argument("index", type=path, metavar="INDEX", help="folder of the index")
    command.add_argument("query", type=path, metavar="QUERY", help="an image of a person, or one embedding (.npz)")
    question(command)
    command.add_argument("--json", action="store_true", help="print JSON in place of the table")
    command.add_argument("--page", type=path, metavar="FILE", help="write a page with images and a timeline")
    many = command.add_argument_group("of many rows, compare candidates alone; a similar row can be missed")
    source = many.add_mutually_exclusive_group()
    source.add_argument("--approximate", action="store_true", help="candidates from FAISS, in INDEX/made/")
    source.add_argument("--from", choices=STORES, dest="store", help="candidates from a copy: copy --to milvus")
    many.add_argument("--uri", help=URI)
    _network(command)


def question(command: argparse.ArgumentParser) -> None:
    """Add what is asked about an image: the parameters of the service have the same names and values."""
    command.add_argument("--modality", type=modality, required=True, help="of the query: visible, infrared, sketch")
    command.add_argument("--box", type=box, metavar="X,Y,W,H", help="where the person is in the image; by default all")
    command.add_argument("--rows", type=modality, help="search rows of this modality alone")
    _filters(command)
    command.add_argument("--hits", type=whole, default=HITS, help="rows to show, of each modality")
    command.add_argument("--fpir", type=share, default=FPIR, help="share of absent people for whom somebody is found")


def _network(command: argparse.ArgumentParser) -> None:
    command.add_argument("--checkpoint", type=path, help="or a folder of exported networks; by default the index's")


def _filters(command: "argparse._ActionsContainer") -> None:
    command.add_argument("--cameras", type=names, default=[], metavar="A,B", help="only these")
    command.add_argument("--since", type=time, metavar="TIME", help="ISO 8601 (UTC without a zone), or seconds")
    command.add_argument("--until", type=time, metavar="TIME", help="the first moment that does not count")


def path(text: str) -> Path:
    if not text:  # as of make search without QUERY
        raise argparse.ArgumentTypeError("is empty. Name a file or a folder")
    return Path(expanded(text))


def modality(text: str) -> Modality:
    found = MODALITIES.get(text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {NAMES}")
    return found


def time(text: str) -> int:
    try:
        return to_ms(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {FORMS}") from None


def names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} names no camera at one place. Leave it out to take all")
    return found


def positive(text: str) -> float:
    if not 1e-3 <= float(text) <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.001 and 1,000,000")
    return float(text)


def whole(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def share(text: str) -> float:
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def box(text: str) -> list[float]:
    numbers = [float(one) for one in text.split(",")]
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text} is not four numbers: x,y,w,h")
    return numbers


def main(arguments: Sequence[str]) -> int:
    options, more = parser().parse_known_args(arguments)
    if unknown := [word for word in more if "." not in word.partition("=")[0]]:
        parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    if more and options.command in ("compact", "verify"):
        raise ConfigError(f"{more[0]}: {options.command} takes no options of eval.py. Leave it out")
    if find_spec("pyarrow") is None:
        raise ConfigError("this needs pyarrow, which is not installed here: .venv/bin/pip install '.[search]'")
    from dns.search import index_command, search_command, upkeep_command  # not above: they need pyarrow

    run = {
        "index": index_command.run, "search": search_command.run, "compact": upkeep_command.compact,
        "verify": upkeep_command.verify, "build": upkeep_command.build, "copy": upkeep_command.copy,
    }[options.command]  # fmt: skip
    return run(options, more)


if __name__ == "__main__":
    with lasting_streams(), user_errors("stopped"):
        sys.exit(main(sys.argv[1:]))
