"""What the whole path costs, stage by stage, side by side with an earlier commit. `python -m bench.path`"""
