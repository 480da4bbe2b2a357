"""Makes the text of --help: every section and option of a method."""

import sys
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from terminaltables import AsciiTable

from dns.methods import METHODS
from dns.training.checkers import checker_of
from dns.training.options import BY_METHOD, SECTIONS, declared, plain, section_class

REQUIRED = "(required)"


def help_text(description: str, method: str) -> str:
    others = ", ".join(name for name in METHODS if name != method)
    parts = [
        description.strip(),
        "",
        f"usage: {Path(sys.argv[0]).name} [--config-file FILE.yaml] [--section.key=value ...]",
        "",
    ]
    for name in SECTIONS:
        rows = [["option", "default", "takes", "what it is"]]
        for key, (option, kind, default) in declared(name, method).items():
            shown = REQUIRED if default is MISSING else _shown(default)
            rows.append([f"--{name}.{key}", shown, checker_of(option, kind).help(), option.help])
        parts.append(AsciiTable(rows, section_class(name, method).__doc__).table)
    if others:
        parts += ["", f"{', '.join(BY_METHOD)} are those of method {method}. For {others}: --model.method=NAME --help"]
    return "\n".join(parts)


def _shown(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(plain(default))
