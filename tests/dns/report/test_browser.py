"""The page in a browser: its script runs, nothing is complained of, nothing is asked for. Needs Debian's chromium."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dns.report import page, write
from dns.report.figures import Chart, Series
from dns.report.html import table

BROWSER = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_script_runs_without_an_error_and_the_policy_lets_nothing_out(tmp_path: Path) -> None:
    rows = [["b", "10.5"], ["a", "9.25"]]
    query = '<li class="query" data-group="worst"><p>worst</p></li>'
    chart = Chart("x", "A chart", "Of two points.", "x", "y", [Series("one", [1, 2], [3, 4])])
    inside = table(["name", "number"], rows, caption="Two rows") + f'<ul class="queries">{query}</ul>'
    inside += page.figure(chart)
    outside = '<img src="http://127.0.0.1:9/asked.png" alt="">'
    address = f"file://{write.write(tmp_path, page.document('A title', '', {}, [('a', 'A', inside)]), {})}"
    command = [
        str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.count("<button type") == 2 + 3  # columns of the table, and of the numbers of the chart
    assert 'class="controls"' in done.stdout
    assert "CONSOLE" not in done.stderr
    write.write(tmp_path, page.document("A title", outside, {}, []), {})
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120).stderr
    assert "violates the following Content Security Policy directive" in refused
