"""Runs the modules of the demo's page in node, which has no page: numbers and bytes in, numbers and bytes out."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dns.demo.folder import PAGE

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def in_node(folder: Path, script: str, given: object) -> Any:
    """Run a module beside copies of the page's; it finds `given` as `given`, and hands its result to `answer`."""
    (folder / "package.json").write_text('{"type": "module"}')  # as a page's <script type="module"> says
    for path in PAGE.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "given.json").write_text(json.dumps(given))
    top = 'import { readFileSync, writeFileSync } from "node:fs";\n'
    top += 'const given = JSON.parse(readFileSync("given.json"));\n'
    top += 'const answer = (value) => writeFileSync("answer.json", JSON.stringify(value));\n'
    (folder / "script.js").write_text(top + script)
    done = subprocess.run([str(NODE), "script.js"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return json.loads((folder / "answer.json").read_text())
