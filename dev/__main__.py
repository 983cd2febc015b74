from dev.cli import app

app(prog_name="python -m dev")
