from medtech.command.line import app

app(prog_name="python -m medtech")
