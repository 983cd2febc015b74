"""One module a kind of vector, named as its files are: `<suite>*.jsonl` goes through `<suite>.check`.

    check(vector) -> str | None     None: the product does what the vector expects; else a short difference
    NOT_COMPARED: frozenset[str]    optional: names in `expected` that the rules leave to us (texts of errors)
    NOT_ORDERED: frozenset[str]     optional: names of lists in `expected` whose order means nothing
    JSON_TEXTS: frozenset[str]      optional: names in `expected` whose texts are JSON

The last three only say which changes of an expectation a check must notice, and that is by returning a difference.

A vector's numbers are read as `Decimal` and `int`, so that `98.60` is not `98.6`.
"""
