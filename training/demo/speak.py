"""What the demo says while it runs: rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape


@dataclass
class Speaker:
    """Prints progress. Without a terminal every line is plain text."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))

    def say(self, text: str) -> None:
        self.console.print(escape(text))

    def begins(self, title: str) -> None:
        self.console.print(f"[bold]> {escape(title)}[/bold]")

    def done(self, title: str, seconds: float) -> None:
        self.console.print(f"[green]  done[/green]: {escape(title)} ({seconds:.1f} s)")

    def reused(self, title: str, seconds: float) -> None:
        self.console.print(f"[dim]  reused: {escape(title)} (took {seconds:.1f} s then)[/dim]")

    def detail(self, text: str) -> None:
        self.console.print(f"[dim]  {escape(text)}[/dim]")
