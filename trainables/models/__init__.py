"""Model families, one file each: the file `NAME.py` holds a class `Model`. The file name is the registry."""
