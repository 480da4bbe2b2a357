"""Lets a run that is queued again go on as it began, on another kind of node too."""

from dataclasses import replace

import torch

from dns import ranks
from dns.engine import fastest_precision
from dns.option import device_type, unchanged
from dns.training.config import read_config
from dns.training.log import JsonLines
from dns.training.options import Config, declared
from dns.training.run_folder import CONFIG, folder_of
from ffcv_convert.common.errors import ConfigError


def with_former_choices(config: Config) -> Config:
    """Return the configuration with what each "auto" that decides numbers became where the folder's run began, if there
    is one to go on with: on another kind of node, it goes on as it was. Without effect on another type of device.

    A run that compiled is left to the engine, which finds out whether that works here.
    """
    folder = folder_of(config)
    wanted = config.run.resume == "auto" or ranks.restarted()
    if not wanted or not (folder / "last.pt").exists() or not (folder / CONFIG).exists():
        return config
    if not JsonLines(folder / "log.jsonl").read("train"):  # nothing was trained: a first try is begun again
        return config
    try:
        former = read_config(["--config-file", str(folder / CONFIG)], description="")
    except ConfigError:  # another version's, or edited: last.pt decides whether the run goes on
        return config
    here = ("cuda" if torch.cuda.is_available() else "cpu") if config.engine.device == "auto" else config.engine.device
    for section in ("engine", "eval"):
        if section == "engine" and device_type(former.engine.device) != device_type(here):
            continue
        now, before = getattr(config, section), vars(getattr(former, section))
        autos = {key: before[key] for key, value in vars(now).items() if value == "auto" and _decides(section, key)}
        autos = {key: value for key, value in autos.items() if (key, value) != ("compile", "true")}
        config = replace(config, **{section: replace(now, **autos)})
        fastest = fastest_precision(torch.device(here)) if "precision" in autos else ""
        if fastest and autos["precision"] not in ("auto", fastest):
            slow = ". A CPU without bf16 takes 2 to 12 times as long as in fp32"
            more = slow if (device_type(here), autos["precision"]) == ("cpu", "bf16") else ""
            ranks.note(f"{folder}: goes on in {autos['precision']}, in which it began; here {fastest} is faster{more}")
    return config


def _decides(section: str, key: str) -> bool:
    """Whether an option must stay the same when a run is resumed."""
    return declared(section)[key][0].resumed is unchanged
