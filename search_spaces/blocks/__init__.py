"""Parts of search spaces, one file each, with a function of the same name that returns the parameters.

`Space.of(name, learning_rate(), optimizer(), ...)` puts them together. Every default has its source beside it.
"""
