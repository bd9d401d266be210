"""Data sets, one file each: the file `NAME.py` holds a function `load`. The file name is the registry."""
