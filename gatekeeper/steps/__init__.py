"""The steps of the one path: each reads the run directory, does one thing, writes its result.

A step is a function of a `Workshop`; it returns the names of the files that it wrote.
"""
