"""The README's table of SYSU-MM01's size is the stored result's."""

import json

from benchmarks.sysu_size import main, table
from tests.conftest import REPOSITORY


def test_the_readme_shows_the_stored_result() -> None:
    stored = [json.loads(path.read_text()) for path in (REPOSITORY / "benchmarks" / "results").glob("sysu-size-*.json")]
    readme = (REPOSITORY / "README.md").read_text()
    content = next(content for content in stored if table(content) in readme)  # a user's own results need not
    assert content["converted_images"] == 22_258 + 11_909 + 3_803 + 6_775
    assert content["loader"]["images"] == 928 * 48


def test_without_a_folder_it_explains_itself(capsys) -> None:
    assert main([]) == 2
    assert "benchmarks.sysu_size FOLDER" in capsys.readouterr().out
