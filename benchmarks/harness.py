"""What the benchmarks share: where a result goes, and what it says of the machine."""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write_result(question: str, content: Mapping[str, Any], environment: Mapping[str, Any]) -> Path:
    """benchmarks/results/<question>-<hardware>-<date>.json; returns its path."""
    hardware = re.sub(r"[^a-z0-9]+", "-", f"{environment['device']} {environment['cores']} cores".lower())
    target = RESULTS / f"{question}-{hardware}-{datetime.now(timezone.utc).date().isoformat()}.json"
    RESULTS.mkdir(exist_ok=True)
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return target
