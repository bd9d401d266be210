"""Metrics, one file each: the file `NAME.py` holds a class `Metric`. The file name is the registry."""
