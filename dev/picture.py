"""A picture, as SVG, of what a person sees in the terminal."""

from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType

_COLUMNS = 88
_SVG = """\
<svg xml:space="preserve" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, monospace }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own format has its font from another site, which a page of documentation is not to ask."""


class Picture:
    """Of a terminal in which `command` was called; what it prints is added line by line."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._console = Console(record=True, width=_COLUMNS, file=StringIO(), highlight=False)
        self.add(f"[bold green]$[/] {command}")

    def add(self, renderable: RenderableType) -> None:
        self._console.print(renderable)

    def write(self, path: Path) -> None:
        text = self._console.export_svg(title=self._command, code_format=_SVG, unique_id="terminal")
        path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
