"""Serve an index: a page and an interface to search it, on this machine or for others.

    python -m dns.serve Index
    make serve INDEX=Index                                     # the same
    curl --data-binary @photo.jpg 'http://127.0.0.1:8080/search?modality=infrared&cameras=1,4'

Options with a point in their names, such as --engine.device=cpu, are those of eval.py. docs/serve.md says more.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from dns.export.description import missing
from dns.search.__main__ import path, whole
from ffcv_convert.common.errors import ConfigError, user_errors
from ffcv_convert.common.streams import lasting_streams

PORT, MOST_MB = 8080, 10
LIBRARIES = ("fastapi", "uvicorn", "pyarrow")


def parser() -> argparse.ArgumentParser:
    description, _, more = (__doc__ or "").partition("\n")
    top = argparse.ArgumentParser(
        "python -m dns.serve", description=description, epilog=more,
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("index", type=path, metavar="INDEX", help="folder of the index")
    top.add_argument("--host", default="127.0.0.1", help="address to listen on; any but loopback needs a token")
    top.add_argument("--port", type=port, default=PORT, help=f"by default {PORT}; 0: any that is free")
    top.add_argument("--token-file", type=path, metavar="FILE", help="what clients have to send; or DNS_SERVE_TOKEN")
    top.add_argument("--most-mb", type=whole, default=MOST_MB, help=f"largest image, in MB; by default {MOST_MB}")
    top.add_argument("--checkpoint", type=path, help="or a folder of exported networks; by default the index's")
    return top


def port(text: str) -> int:
    if not 0 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    options, more = parser().parse_known_args(arguments)
    if unknown := [word for word in more if "." not in word.partition("=")[0]]:
        parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    for library in LIBRARIES:
        if find_spec(library) is None:
            raise ConfigError(missing(library, "serve"))
    from dns.serve import service  # not above: it needs them

    return service.run(options, more)


if __name__ == "__main__":
    with lasting_streams(), user_errors("stopped"):
        sys.exit(main(sys.argv[1:]))
