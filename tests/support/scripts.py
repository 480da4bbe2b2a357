"""Imports train_ffcv.py and eval.py in one process, and runs them as commands in forks of it: importing torch takes
seconds, and a process of its own for each question would take them again."""

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
REFUSED = {"train_ffcv.py": "--config-file=gone.yaml", "eval.py": "--eval.checkpoint=gone.pt"}

# Its arguments: script, argument, and so on. What a fork prints goes into SCRIPT.out and SCRIPT.err in the folder above
# its own, its exit code into SCRIPT.code.
CODE = """
import os, runpy, signal, sys, warnings
import torch
asked, sys.argv = sys.argv[1:], ["x", "--nonsense"]
state = lambda: (torch.get_num_threads(), signal.getsignal(2))
before = state()
import eval, train_ffcv
assert state() == before
warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)  # NumPy's threads, which sleep
for path, argument in zip(asked[::2], asked[1::2]):
    name = "../" + os.path.basename(path)
    child = os.fork()
    if not child:
        for number, ending in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}.{ending}", os.O_WRONLY | os.O_CREAT), number)
        sys.argv = [path, argument]
        runpy.run_path(path, run_name="__main__")
        sys.exit(0)
    with open(f"{name}.code", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


def run_scripts(folder: Path) -> None:
    """Run CODE in folder/here. folder/imported.json says how the process ended, what it printed and what lies there."""
    here = folder / "here"
    here.mkdir()
    asked = [part for name, argument in REFUSED.items() for part in (str(REPOSITORY / name), argument)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *asked], cwd=here, env={"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    said = [done.returncode, done.stdout, done.stderr, os.listdir(here)]
    (folder / "imported.json").write_text(json.dumps(said))
