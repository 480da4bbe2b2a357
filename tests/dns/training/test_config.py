"""Configuration: what is taken, what is refused, and with which words."""

from pathlib import Path

import pytest
import yaml

from dns.methods import METHODS
from dns.training.config import main, read_config, to_yaml
from dns.training.options import DEFAULT_METHOD, SECTIONS, Config, DataOptions
from ffcv_convert.common.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.support.refusals import assert_tells, refusal

NEEDED = ["--data.set=llcm", "--eval.protocol=llcm-i2v"]


def resolve(*arguments: str, base: dict | None = None) -> Config:
    return read_config(arguments, description="text", base=base)


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_command_line_beats_yaml_beats_base_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {set: llcm, persons: 5}\noptim.lr: 0.3\neval: {protocol: llcm-v2i}\n")
    values = resolve("--optim.lr=0.4", "--config-file", str(path), base={"data": {"persons": 3, "pictures": 2}})
    assert values.optim.lr == 0.4
    assert values.data == DataOptions(set="llcm", persons=5, pictures=2)
    assert values.optim.epochs == 100


def test_later_file_beats_earlier_one(tmp_path: Path) -> None:
    first = write(tmp_path, "data: {set: llcm}\noptim: {lr: 1, epochs: 2}\neval: {protocol: llcm-i2v}\n")
    second = tmp_path / "second.yaml"
    second.write_text("optim: {lr: 2}\n")
    values = resolve("-C", str(first), f"--config-file={second}")
    assert (values.optim.lr, values.optim.epochs) == (2.0, 2)


@pytest.mark.parametrize(
    ("flag", "key", "value"),
    [
        ("--optim.published_schedule=False", "optim.published_schedule", False),
        ("--optim.published_schedule=true", "optim.published_schedule", True),
        ("--optim.lr=1e-4", "optim.lr", 1e-4),
        ("--optim.weight_decay=0", "optim.weight_decay", 0.0),
        ("--run.seed=0", "run.seed", 0),
        ("--engine.channels_last=false", "engine.channels_last", "false"),
        ("--eval.protocols=llcm-v2i,llcm-i2v", "eval.protocols", ("llcm-v2i", "llcm-i2v")),
        ("--optim.decay_epochs=20,50", "optim.decay_epochs", (20, 50)),
        ("--optim.decay_epochs=7", "optim.decay_epochs", (7,)),
    ],
)
def test_command_line_values_get_their_type(flag: str, key: str, value: object) -> None:
    section, name = key.split(".")
    found = getattr(getattr(resolve(*NEEDED, flag), section), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("option", "given", "near"),
    [("eval.protocols", "sysu-al", "sysu-all"), ("eval.protocol", "llcm-v2", "llcm-v2i"), ("optim.name", "SGD", "sgd")],
)
def test_the_nearest_name_is_offered(option: str, given: str, near: str) -> None:
    with refusal(ConfigError, option, f"'{given}'", f"mean {near}"):
        resolve(*NEEDED, f"--{option}={given}")


def test_a_recipe_in_capitals_is_answered_with_the_right_one() -> None:
    folder = REPOSITORY / "configs"
    with refusal(ConfigError, folder / "SYSU-MM01.yaml", folder / "sysu.yaml"):
        resolve(f"--config-file={folder / 'SYSU-MM01.yaml'}")


def test_options_are_checked_alone(capsys: pytest.CaptureFixture[str]) -> None:
    main(NEEDED)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*NEEDED, "--optm.lr=1"])
    assert_tells(capsys.readouterr().err, "optm.lr", "optim.lr")


def test_yaml_values_get_their_type(tmp_path: Path) -> None:
    path = write(tmp_path, "optim: {lr: 1e-4, published_schedule: off}\nengine: {compile: on}\neval: {flip: off}\n")
    values = resolve(*NEEDED, "-C", str(path))
    assert values.optim.lr == 1e-4  # YAML 1.1 reads 1e-4 as text
    assert values.optim.published_schedule is False
    assert values.engine.compile == "true"
    assert values.eval.flip == "off"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--optm.lr=1"], ["the command line", "optm.lr", "optim.lr"]),
        (["--lr=1"], ["lr", "optim.lr"]),
        (["--zzz=1"], ["zzz", "--help"]),
        (["--optim.epochs=3.7"], ["optim.epochs", "'3.7'", "from 1 to 100000"]),
        (["--optim.epochs=0"], ["optim.epochs", "from 1 to 100000"]),
        (["--optim.published_schedule=maybe"], ["optim.published_schedule", "'maybe'"]),
        (["--optim.lr="], ["optim.lr", "''"]),
        (["--optim.epochs=1" + "0" * 400], ["optim.epochs", "from 1 to 100000"]),
        (["--optim.peak_epoch=1" + "0" * 400], ["optim.peak_epoch", "from 1 to 100000"]),
        (["--optim.lr=1e300"], ["optim.lr = '1e300'", "from 0 to 1e+30"]),
        (["--optim.weight_decay=1e300"], ["optim.weight_decay", "from 0 to 1000"]),
        (["--multiplier.neck=1e9"], ["multiplier.neck", "from 0 to 1000"]),
        (["--run.seed=99999999999999999999999"], ["run.seed", "from 0 to 4294967295"]),
        (["--run.repeats=100000000"], ["run.repeats", "from 1 to 1000"]),
        (["--eval.batch_size=1000000000000"], ["eval.batch_size", "from 1 to 4096"]),
        (["--optim.decay_epochs=50,20"], ["optim.decay_epochs", "'50,20'", "ascending"]),
        (["--optim.decay_epochs=20,x"], ["optim.decay_epochs", "'20,x'", "from 1 to 100000"]),
        (["--optim.lr"], ["optim.lr", "no value"]),
        (["--optim.lr", "--optim.epochs=3"], ["optim.lr", "no value"]),
        (["--optim.lr=nan"], ["optim.lr", "'nan'"]),
        (["--model.architecture=resnet51"], ["model.architecture", "'resnet51'", "resnet34, resnet50"]),
        (["--eval.protocols=llcm-i2v,sysu"], ["eval.protocols", "'llcm-i2v,sysu'", "llcm-i2v, llcm-v2i"]),
        (["optim.lr=3"], ["'optim.lr=3'"]),
        (["--config-file", "configs/lcm.yaml"], ["configs/lcm.yaml", "configs/llcm.yaml"]),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: list[str], told: list[str]) -> None:
    with refusal(ConfigError, *told):
        resolve(*NEEDED, *arguments)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optim: {lrr: 1}", ["optim.lrr", "optim.lr"]),
        ("optim: {epochs: 3.7}", ["optim.epochs", "3.7"]),
        ("optim: {epochs: true}", ["optim.epochs", "True"]),
        ("optim: {lr: }", ["optim.lr", "no value"]),
        ("optim: {lr: [1, 2]}", ["optim.lr", "[1, 2]"]),
        ("optim: {lr: 1" + "0" * 400 + "}", ["optim.lr", "from 0 to 1e+30"]),
        ("optim: {epochs: 1" + "0" * 400 + "}", ["optim.epochs", "from 1 to 100000"]),
        ("optim: {published_schedule: 1}", ["optim.published_schedule", 1]),
        ("optim: {lr: 1, lr: 2}", ["lr", "twice"]),
        ("optim: {lr: 1", ["YAML"]),
        ("optim: {lr: 2026-02-31}", ["YAML"]),  # a date to YAML, which Python refuses
        ("- 3", ["no sections"]),
        ("", ["no sections"]),
        ("run: !!python/object/apply:os.system [echo]", ["YAML"]),
    ],
)
def test_wrong_files_are_refused_with_their_name(tmp_path: Path, text: str, told: list[object]) -> None:
    path = write(tmp_path, text)
    with refusal(ConfigError, path, *told):
        resolve(*NEEDED, "-C", str(path))


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").mkdir()
    with refusal(ConfigError, tmp_path / "recipe.yaml"):
        resolve(*NEEDED, "-C", str(tmp_path / "recipe.yaml"))


def test_options_of_another_version_are_named_without_what_a_terminal_would_obey(capsys: pytest.CaptureFixture) -> None:
    resolve(*NEEDED, base={"data": {"a\x1b[2J\nb": 1, "persons": 3}})
    (line,) = capsys.readouterr().err.splitlines()
    assert_tells(line, "note", "data.a\\x1b[2J\\nb")


def test_images_of_a_recipe_s_own_size_lie_in_a_folder_of_it() -> None:
    assert resolve(*NEEDED).data.folder == Path("Beton/llcm")
    assert resolve(*NEEDED, "--data.height_px=384", "--data.width_px=144").data.folder == Path("Beton/384x144/llcm")
    with refusal(ConfigError, "data.height_px", 384, "data.width_px"):
        resolve(*NEEDED, "--data.height_px=384")


def test_a_set_without_a_recipe_of_the_method_is_told_which_have_one() -> None:
    folder = REPOSITORY / "configs" / "agw"
    with refusal(ConfigError, folder / "pku_sketch.yaml", "agw has recipes for llcm, regdb, synthetic, sysu"):
        resolve(f"--config-file={folder / 'pku_sketch.yaml'}")
    with refusal(ConfigError, folder / "sysu-mm01.yaml", folder / "sysu.yaml"):
        resolve(f"--config-file={folder / 'sysu-mm01.yaml'}")
    nowhere = REPOSITORY / "configs" / "agv" / "sysu.yaml"
    with refusal(ConfigError, nowhere, *METHODS):
        resolve(f"--config-file={nowhere}")


def test_missing_required_option_is_named() -> None:
    with refusal(ConfigError, "data.set"):
        resolve("--eval.protocol=llcm-i2v")


def test_environment_variables_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("optim.lr", "9")
    assert resolve(*NEEDED).optim.lr == 0.2


def test_help_prints_sections_options_and_defaults(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        resolve("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in ("Optimisation", "--optim.lr", "0.2", "--data.set", "(required)", "resnet34, resnet50"):
        assert word in text


def test_stored_configuration_gives_the_same_values(tmp_path: Path) -> None:
    odd = "--run.name=a\u2028b\x85c"  # line breaks to YAML
    given = ["--optim.lr=0.123", "--eval.flip=off", "--engine.compile=false", "--optim.decay_epochs=3,5", odd]
    values = resolve(*NEEDED, *given)
    path = write(tmp_path, to_yaml(values, "a run"))
    assert resolve("-C", str(path)) == values


OWN_RECIPES = sorted(Path("configs/ours").glob("*.yaml"))
ABLATION = Path("configs/ablation.yaml")  # rows over recipes
PUBLISHED_RECIPES = sorted(set(Path("configs").rglob("*.yaml")) - {*OWN_RECIPES, ABLATION})


@pytest.mark.parametrize("path", PUBLISHED_RECIPES, ids=lambda path: "/".join(path.parts[1:]))
def test_every_recipe_is_read_and_names_its_command(path: Path) -> None:
    values = read_config(["-C", str(path)], description="")
    method = path.parent.name if path.parent.name != "configs" else DEFAULT_METHOD
    assert (values.data.set, values.model.method) == (path.stem, method)
    chosen = [f"DATASET={path.stem}"] * (path.stem != "synthetic") + [f"METHOD={method}"] * (method != DEFAULT_METHOD)
    assert f"#   {' '.join(['make train', *chosen])}\n" in path.read_text().split("\ndata:")[0]
    assert set(yaml.safe_load(path.read_text())) <= set(SECTIONS)


@pytest.mark.parametrize("path", OWN_RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_ours_says_so_and_names_its_command(path: Path) -> None:
    values = read_config(["-C", str(path)], description="")
    assert path.stem.endswith(f"-{values.data.set}")
    head = path.read_text().split("\ndata:")[0]
    assert "a recipe of ours, not a published one" in head
    assert "Never run on the real set" in head
    assert f"#   make train DATASET={values.data.set} RECIPE={path} ARGS=--run.name=" in head
    assert set(yaml.safe_load(path.read_text())) <= set(SECTIONS)
