"""The command line as a whole: its verbs, and errors turned into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
import typer.main
from pydantic import ValidationError

from modelmora.cli.shared.output import say, tell
from modelmora.errors import ModelMoraError
from modelmora.surroundings import INTERRUPTED, settle
from modelmora.text import printable, shorten

DEBUG_VARIABLE = "MODELMORA_LOG__LEVEL"
HELP = ["-h", "--help"]
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
VERBS = {
    "init": ("Run", "init:init"),
    "serve": ("Run", "serve:serve"),
    "stop": ("Run", "instance:stop"),
    "broker": ("Run", "broker:broker"),
    "demo": ("Run", "demo.demo:demo"),
    "bench": ("Run", "bench:bench"),
    "simulate": ("Look", "simulate:simulate"),
    "capacity": ("Look", "capacity:capacity"),
    "traffic": ("Look", "traffic:app"),
    "compare": ("Look", "cluster.compare:compare"),
    "infer": ("Use", "ask.infer:infer"),
    "produce": ("Use", "ask.produce:produce"),
    "results": ("Use", "ask.results:results"),
    "jobs": ("Use", "ask.jobs:app"),
    "install": ("Use", "install:install"),
    "apply": ("Use", "apply:apply"),
    "activate": ("Use", "apply:activate"),
    "routes": ("Use", "routes:app"),
    "canary": ("Use", "canary:app"),
    "list": ("Use", "models:list_models"),
    "info": ("Use", "models:info"),
    "export": ("Use", "export:export_model"),
    "uninstall": ("Use", "models:uninstall"),
    "cache": ("Use", "cache:app"),
    "lock": ("Use", "lock:lock"),
    "keys": ("Use", "keys:app"),
    "roles": ("Use", "roles:app"),
    "budgets": ("Use", "budgets:app"),
    "status": ("Look", "instance:status"),
    "logs": ("Look", "instance:logs"),
    "load": ("Use", "life:load"),
    "unload": ("Use", "life:unload"),
    "pin": ("Use", "life:pin"),
    "unpin": ("Use", "life:unpin"),
    "ps": ("Look", "ps:ps"),
    "nodes": ("Look", "cluster.nodes:nodes"),
    "trace": ("Look", "cluster.trace:trace"),
    "events": ("Look", "cluster.events:events"),
    "audit": ("Look", "cluster.audit:app"),
    "dlq": ("Look", "cluster.dlq:app"),
    "doctor": ("Look", "doctor:doctor"),
    "topics": ("Kafka", "cluster.topics:app"),
    "groups": ("Kafka", "cluster.groups:app"),
    "backup": ("Kafka", "cluster.backup:backup"),
    "restore": ("Kafka", "cluster.backup:restore"),
    "config": ("Settings", "config:app"),
}
"""Per verb the panel of the help that it stands in, and where it is."""
ALIASES = {"pull": "install", "ls": "list", "show": "info", "rm": "uninstall"}
"""Words that people bring along from other tools."""


def build(only: str | None = None) -> typer.Typer:
    """The command with all its verbs, or with one: the others' imports would double its start."""
    app = typer.Typer(
        name="modelmora",
        help="The Kafka-native model server: requests in on topics, one outcome per request.",
        epilog="Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 not found, "
        "4 broker, gateway or source unreachable, 5 models are not those of the lock file, "
        "130 interrupted.",
        invoke_without_command=True,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP},
    )
    app.callback()(_options)
    for verb, (panel, where) in VERBS.items():
        if only not in (None, verb):
            continue
        module, _, name = where.partition(":")
        target = getattr(import_module(f"modelmora.cli.{module}"), name)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=verb, rich_help_panel=panel)
        else:
            context = PASS_ON if verb == "bench" else None
            app.command(verb, rich_help_panel=panel, context_settings=context)(target)
    return app


def plain(app: typer.Typer) -> Any:
    """The command as typer makes it, without Python's types beside flags and arguments."""
    command = typer.main.get_command(app)
    for _, each in commands_of(command):
        for option in (
            *each.params,
            each.get_help_option(typer.Context(each, help_option_names=HELP)),
        ):
            if getattr(option, "is_flag", False):
                option.metavar = ""
            elif isinstance(option, typer.core.TyperArgument):
                # Its metavar is its name already.
                option.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005
    return command


def commands_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and all below it, each with the words by which it is called."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands_of(below, (*path, name))


def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    # Having options of its own also keeps typer from folding a single verb into the command.
    if version:
        tell(metadata.version("modelmora"))
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, never raises but for a fault of our own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    given[:1] = [ALIASES.get(word, word) for word in given[:1]]
    try:
        settle()
        app = build(given[0] if given and given[0] in VERBS else None)
        code = plain(app).main(given, prog_name="modelmora", standalone_mode=False)
        sys.stdout.flush()
    except ModelMoraError as error:
        return _fail(str(error), error.exit_code, error)
    except typer.TyperException as error:
        # Without a message it is a call without arguments, and the help has been printed.
        message = error.format_message()
        return _fail(_usage(error), error.exit_code, error) if message else error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # The reader (`| head`) has seen enough; typer makes an exit of it, as of completion.
        return _closed() if isinstance(error, BrokenPipeError) else int(error.code or 0)
    except OSError as error:
        _closed()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1, error)
    except UnicodeError as error:
        return _fail(_no_text(error), 2, error)
    except Exception as error:  # noqa: BLE001  a person sees one line, never a traceback
        told = f"unexpected {type(error).__name__}: {error}; {DEBUG_VARIABLE}=debug tells more"
        return _fail(told, 1, error)
    return code if isinstance(code, int) else 0


def _closed() -> int:
    """Nobody reads stdout any more; without this Python complains about it while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _no_text(error: UnicodeError) -> str:
    """Which of what was given is no text: an argument, or what standard input or a file held."""
    given = getattr(error, "object", "")
    if isinstance(error, UnicodeEncodeError):
        return f"{shorten(printable(given), 60)} is not UTF-8; give it as UTF-8 text"
    return "standard input or a file is not UTF-8; give it as UTF-8 text"


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "modelmora"
    told = (_bad_value(error) or error.format_message()).rstrip(".")
    if told.startswith("Got unexpected extra argument"):
        told += "; flags such as --json take no value"
    return f"{told}; see `{command} --help`"


def _bad_value(error: typer.TyperException) -> str:
    """Which value is wrong and what it must be, where typer repeats what pydantic says."""
    cause = error.__cause__
    if not isinstance(error, typer.BadParameter) or not isinstance(cause, ValidationError):
        return ""
    (fault, *_) = cause.errors(include_url=False)
    least, choices = fault.get("ctx", {}).get("ge"), fault.get("ctx", {}).get("error")
    kind = "a whole number" if fault["type"].startswith("int_") else "a number"
    wanted = f"it must be {kind if least is None else f'at least {least}'}"
    name = error.param.opts[0] if error.param else "a value"
    return f"{name}: {choices}" if choices else f"{name} is {fault['input']}; {wanted}"


def _fail(message: str, code: int, error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE, "").lower() == "debug":
        import traceback

        for text in traceback.format_exception(error):
            for line in text.splitlines():
                say(line)
    say(f"modelmora: {' '.join(message.split())}")
    return code
