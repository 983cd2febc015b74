import sys


def main() -> None:
    """The command line, which Functions installs nothing for."""
    try:
        from medtech.command.line import run
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit(
            f"The command line needs typer, which the app in Azure does without. In a checkout of the repository run "
            f"`make setup` and use .venv/bin/python, or install it for {sys.executable}: `pip install '.[cli]'`."
        )
    run()


if __name__ == "__main__":
    main()
