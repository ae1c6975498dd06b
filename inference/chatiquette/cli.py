"""The command line `chatiquette`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from importlib.metadata import entry_points
from itertools import tee
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from . import __version__, records
from .bundle import BUNDLED, verify
from .classifier import EtiquetteClassifier, Message
from .records import BadLine, Form, Record
from .taxonomy import CATEGORIES, LABEL_NAMES, LANGUAGES, ROLES, Role


class _Commands(click.Group):
    """Adds the commands that other parts of the distribution register, whose modules import what they need only when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group="chatiquette.commands").names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for entry in entry_points(group="chatiquette.commands", name=cmd_name):
            command = entry.load()
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Tells which rules of chat etiquette a message followed and which it violated.

    \b
    chatiquette classify "Done. Bye." --context "Thanks, that solved it!"
    chatiquette classify chat.jsonl --output verdicts.csv
    """


@main.command()
@click.argument("inputs", nargs=-1, metavar="[MESSAGE | FILE]...")
@click.option("--context", help="The message just before, by the other side; for messages that bring none.")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="agent",
    show_default=True,
    help="Who wrote the messages that don't say it themselves.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file, not to the screen."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv"]),
    help="What to write [default: table on screen, else by the ending of --output].",
)
@click.option(
    "--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Language of the table."
)
@click.option("--model", type=click.Path(path_type=Path), help="A bundle to use instead of the installed model.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processor threads; with --processes each has one.",
)
@click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes, for large files: one a core."
)
@click.option(
    "--max-length", type=click.IntRange(8), help="Tokens read of message and context [default: the model's limit]."
)
def classify(
    inputs: tuple[str, ...],
    context: str | None,
    role: Role,
    output: Path | None,
    form: Form | None,
    language: str,
    model: Path | None,
    threads: int,
    processes: int,
    max_length: int | None,
) -> None:
    """Classifies messages.

    An argument that names a .jsonl, .csv or .txt file is read as messages, any other is a message itself. Without
    arguments, standard input is read, one message a line. JSON Lines have the keys "text" and optionally "context" and
    "role" (agent or customer; a customer is judged by politeness, language and focus alone), CSV the same as columns;
    what else stands there is written out again. A line that can't be read is reported with its number and the rest goes
    on; the exit status is then 1.

    \b
    chatiquette classify "Wait." "Could you send me a photo, please?"
    chatiquette classify chat.jsonl --format jsonl > verdicts.jsonl
    chatiquette classify year.csv --processes 8 --output verdicts.csv
    tail -n 100 chat.txt | chatiquette classify --language fi
    """
    form = form or ("table" if output is None else records.form_of(output))
    try:
        classifier = EtiquetteClassifier.load(model, threads=threads, max_length=max_length)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    files = [Path(name) for name in inputs if records.names_file(name)]
    for file in files:
        if not file.is_file():  # before the output is opened, which would empty it
            raise click.ClickException(f"{file}: no such file")
        if output is not None and output.exists() and output.samefile(file):
            raise click.ClickException(f"{output} is also an input; give another --output")
    errors = Console(stderr=True)
    bad_lines = 0

    def good(found: Iterator[Record | BadLine]) -> Iterator[Record]:
        nonlocal bad_lines
        for one in found:
            if isinstance(one, BadLine):
                bad_lines += 1
                errors.print(str(one), style="red", markup=False, highlight=False, soft_wrap=True)
            else:
                yield one if one.context is not None else replace(one, context=context)

    try:
        found, kept = tee(good(records.read(inputs, errors)))
        messages = (Message(one.text, one.context, one.role or role) for one in found)
        with records.writer(output, form, language) as write:
            for record, prediction in zip(kept, classifier.stream(messages, processes=processes), strict=True):
                write(record, prediction)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    except BrokenExecutor as error:
        raise click.ClickException(
            "a process could not start, or was stopped from outside; is there memory for so many?"
        ) from error
    if bad_lines:
        errors.print(f"{bad_lines} line(s) could not be read", style="red")
        sys.exit(1)


@main.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
def verify_bundle(bundle: Path | None) -> None:
    """Checks that BUNDLE, or the installed model, is complete and that no file of it was changed.

    \b
    chatiquette verify bundle
    """
    try:
        checked = verify(bundle or BUNDLED)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{checked.folder}: sound, layout {checked.metadata['schema_version']}, {len(checked.labels)} labels")


@main.command()
@click.option(
    "--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Language of the names."
)
def labels(language: str) -> None:
    """Lists the 14 categories and their 23 labels, with the advice each verdict gives."""
    table = Table(show_lines=False)
    for heading in ("#", "Label", "Meaning", "Advice"):
        table.add_column(heading, overflow="fold")
    for category in CATEGORIES:
        for label in category.labels:
            number = str(LABEL_NAMES.index(label.name))
            table.add_row(number, label.name, label.display[language], label.advice[language])
        table.add_section()
    Console().print(table)
