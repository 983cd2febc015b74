"""The vectors of the reference connector, run against this product: `python -m tests.conformance`."""
