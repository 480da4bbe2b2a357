"""Holds the harness around the paper: options, run folder, checkpoints, log, repeats, stopping."""
