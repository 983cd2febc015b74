"""What a given traffic needs past this machine, worked out from what is measured on it: `python -m bench.scale`."""
