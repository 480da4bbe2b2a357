"""The stored result at SYSU-MM01's size is of that size; tests/benchmarks/test_page.py compares its table."""

import json

from benchmarks.sysu_size import main
from tests.conftest import REPOSITORY


def test_the_stored_result_is_of_the_real_sets_size() -> None:
    for path in (REPOSITORY / "benchmarks" / "results").glob("sysu-size-*.json"):
        content = json.loads(path.read_text())
        assert content["converted_images"] == 22_258 + 11_909 + 3_803 + 6_775
        assert content["loader"]["images"] == 928 * 48


def test_without_a_folder_it_explains_itself(capsys) -> None:
    assert main([]) == 2
    assert "benchmarks.sysu_size FOLDER" in capsys.readouterr().out
