from medtech.cli import app

app(prog_name="python -m medtech")
