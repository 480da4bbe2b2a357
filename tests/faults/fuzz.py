"""python tests/faults/fuzz.py [--seconds N] [--output JSON]: the readers of fuzz_targets.py under atheris.

It follows their branches, from small good inputs on.

Prints JSON: of each target the executions, the inputs that reached new branches, and the input that broke it, if any.
Needs the extra `fuzz`: pip install '.[fuzz]'. Ends with 1 after a crash.
"""

import argparse
import base64
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

NAMES = ("lists", "csv", "manifest", "beton", "image")
REPOSITORY = Path(__file__).parents[2]
MEMORY_BYTES = 2 << 30


def fuzz(name: str, seconds: int) -> dict[str, object]:
    """One target in a process of its own, as the fuzzer ends the process that it runs in."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--seconds", str(seconds), "--target", name, "--folder", folder]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        crashes = [base64.b64encode(path.read_bytes()).decode() for path in Path(folder).glob("broken-*")]
        new = sum(1 for path in (Path(folder) / "corpus").glob("*") if not path.name.startswith("seed"))
    broken = bool(crashes) or done.returncode != 0 or executions is None
    return {
        "executions": int(executions[1]) if executions else 0,
        "new_coverage_inputs": new,
        "crashes": crashes,
        **({"error": done.stderr[-2000:]} if broken else {}),
    }


def run_target(name: str, seconds: int, folder: Path) -> None:
    """Never returns."""
    import atheris

    # What numba compiles cannot be followed.
    with atheris.instrument_imports(["ffcv_convert", "csv", "json", "PIL"], ["ffcv_convert.lanczos"]):
        from tests.faults.fuzz_targets import targets

    target = targets(folder / "files")[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    # The fuzzer's own limit counts the memory of the process that started this one.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=0", "-max_len=4096"]
    options = [f"-artifact_prefix={folder}/broken-", "-print_final_stats=1", "-seed=1"]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], target.read)
    atheris.Fuzz()


def measured_with() -> dict[str, object]:
    sys.path.insert(0, str(REPOSITORY))
    import torch

    from dns.training.environment import environment

    return {**environment(torch.device("cpu")), "atheris": version("atheris")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=NAMES, help="one of them")
    parser.add_argument("--output", type=Path, help="write the counts here too, with hardware, versions and commit")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        run_target(options.target, options.seconds, options.folder)
    found = {name: fuzz(name, options.seconds) for name in ([options.target] if options.target else NAMES)}
    report = {"seconds": options.seconds, "targets": found}
    print(json.dumps(report, indent=1))
    if options.output:
        options.output.write_text(json.dumps({**report, "environment": measured_with()}, indent=1) + "\n")
    return 1 if any("error" in result for result in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
