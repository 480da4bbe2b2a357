"""Makes tables of what `make check-cuda` (both of its parts) and `python -m tests.cuda_stand_in.ablation` stored."""

from typing import Any


def where(content: dict[str, Any]) -> str:
    return (
        f"ResNet-50, 48 images of 288 x 144, bf16, counted on an {content['host']} without a GPU, "
        f"torch {content['torch']}, commit {content['commit'][:7]}:"
    )


def check(content: dict[str, Any]) -> str:
    """Return a table of Triton's kernels class by class, and of what else moves memory."""
    classes = sorted(content["classes"].items(), key=lambda row: -row[1][1])
    rows = [["kernels", "launches", "GB"], ["---"] * 3]
    rows += [[name, str(count), f"{size:.2f}"] for name, (count, size) in classes]
    rows.append(["**all of Triton's**", str(content["triton_launches"]), f"{content['triton_gb']:.2f}"])
    rows.append(
        ["convolutions, forward and backward", str(content["convolutions"]), f"{content['convolution_gb']:.2f}"]
    )
    found = (
        f"\nGraph breaks {content['graph_breaks']}, recompiles {content['recompiles']}, kernels that mix layouts "
        f"{content['mixed_layouts']}, channels-first maps {content['channels_first_maps']}, float32 maps written "
        f"{content['float32_gb']:.2f} GB, broken rules of capture {content['violations']}, synchronisations "
        f"{content['syncs']}. A replayed step is at most {content['launches_a_step']} launches of the host.\n"
    )
    return _lines(rows) + found


def ablation(content: dict[str, Any]) -> str:
    """Return a table of the step with every change, and with each of them switched off."""
    columns = ["step", "Triton launches", "Triton GB", "kernels that mix layouts", "channels-first maps"]
    columns += ["float32 maps, GB", "memory, GB", "model, H100 / H200, ms"]
    rows = [columns, ["---"] * len(columns)]
    for name, case in content["cases"].items():
        counts = [case["mixed_layouts"], case["channels_first_maps"]]
        limits = " / ".join(f"{value:.2f}" for value in case["roofline_ms"].values())
        sizes = [f"{case[key]:.2f}" for key in ("float32_gb", "reserved_gb")]
        rows.append([name, str(case["triton_launches"]), f"{case['triton_gb']:.2f}", *map(str, counts), *sizes, limits])
    return _lines(rows)


def where_numbers(content: dict[str, Any]) -> str:
    return (
        f"Computed on an {content['host']} without a GPU, torch {content['torch']}, commit {content['commit'][:7]}; "
        f"faults put in and seen {content['faults_caught']} of {len(content['faults'])}, races "
        f"{content['races_caught']} of {len(content['races'])}:"
    )


def numbers(content: dict[str, Any]) -> str:
    """Return a table of what was compared, and the largest difference."""
    rows = [["case", "precision", "compared with", "largest difference"], ["---"] * 4]
    for case, precision, other, value in content["cases"]:
        shown = {True: "none", False: "**not equal**"}[value] if isinstance(value, bool) else f"{value:.1e}"
        rows.append([case, precision, other, shown])
    return _lines(rows)


def _lines(rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)
