"""Trains the rows of an ablation, each with several seeds, and sets them side by side.

rows.py      reads which rows there are (configs/ablation.yaml)
plan.py      rows -> runs; rows that train the same network share theirs
table.py     results -> the table: means over seeds, intervals, differences, parameters, speed
__main__.py  the command
"""
