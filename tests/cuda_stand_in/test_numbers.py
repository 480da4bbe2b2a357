"""What the captured step computes, on a CUDA that computes as a CPU does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cuda_stand_in import private_names
from tests.cuda_stand_in.check import EXIT_CODES
from tests.cuda_stand_in.conftest import OnStandIn

SAME = 1e-11  # relative; float64 rounds to 1e-16, and a tiny batch lets it grow with each step


@pytest.mark.parametrize("names", [private_names.COMPUTING, private_names.INTERPRETED])
def test_torch_and_triton_have_every_private_name(names: tuple[str, ...]) -> None:
    """`make test` says here which one is gone, before anything that rests on it fails."""
    assert private_names.gone(names) == []


def test_a_name_that_is_gone_is_named() -> None:
    with pytest.raises(ImportError, match=r"has no torch\._C:_one_that_never_was: .* tried with"):
        private_names.check(["torch._C:_one_that_never_was"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["eager", "lazy"])
def test_the_stand_in_keeps_cudas_order(on_stand_in: OnStandIn, how: str) -> None:
    found = on_stand_in("mechanics", how)
    assert all(found.values()), [name for name, was_so in found.items() if not was_so]


@pytest.mark.slow
def test_captured_equals_uncaptured_in_every_bit_and_the_cpu_in_float64(on_stand_in: OnStandIn) -> None:
    """Two cases; `make check-cuda` compares every one."""
    found = on_stand_in("equal", "quick")
    assert len(found["captured_bits_equal"]) == 2
    assert all(found["captured_bits_equal"].values()), found
    assert all(apart["losses"] < SAME and apart["state"] < 1e-9 for apart in found["equal_fp64"].values()), found


@pytest.mark.inductor  # it compiles nothing, but takes more than a minute: make check-cuda runs it
def test_every_method_is_captured_and_computes_what_the_cpu_does(on_stand_in: OnStandIn) -> None:
    """Two accumulated batches in bf16; one in float64."""
    found = on_stand_in("equal", "methods")
    assert all(found["captured_bits_equal"].values()), found
    assert all(apart["losses"] < SAME for apart in found["equal_fp64"].values()), found


@pytest.mark.inductor  # as long
def test_a_vision_transformer_is_captured_and_computes_what_the_cpu_does(on_stand_in: OnStandIn) -> None:
    """In bf16 and in float64; `make check-cuda` compares more."""
    found = on_stand_in("equal", "backbones")
    assert all(found["captured_bits_equal"].values()), found
    assert all(apart["losses"] < SAME for apart in found["equal_fp64"].values()), found


@pytest.mark.slow
def test_a_stop_a_resume_and_the_tests_end_well_with_numbers(
    on_stand_in: OnStandIn, converted_layout: Callable[[str], Path], tmp_path: Path
) -> None:
    """Losses and weights are finite, ranks are ranks: nothing that checks them is replaced."""
    found = on_stand_in("whole", converted_layout("sysu").parent, tmp_path, "quick")
    assert found["exit_codes"] == EXIT_CODES
