"""Shell commands of a cluster file, read closely enough to see what they start, with which options and environment."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

_BETWEEN = frozenset({";", "&", "&&", "|", "||", "(", ")", "{", "}", "!", "then", "do", "else", "if", "while", "\n"})
#: Programs that run another with what follows.
_PREFIXES = frozenset({"env", "sudo", "nohup", "exec", "time", "command"})


@dataclass(frozen=True)
class Command:
    """One simple command of a line.

    Attributes:
        words: the program and its arguments.
        environment: what is set for it, by `export` earlier in the line or before the program.
    """

    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, str]:
        """`--name value` and `--name=value`; an option without a value has the value `true`."""
        found: dict[str, str] = {}
        words = list(self.words)
        for index, word in enumerate(words):
            if not word.startswith("--") or len(word) == 2:
                continue
            name, is_given, value = word.partition("=")
            if not is_given:
                after = words[index + 1] if index + 1 < len(words) else "--"
                value = "true" if after.startswith("-") else after
            found[name] = value
        return found

    def runs(self, *program: str) -> bool:
        """Whether it runs a program, such as `runs("ray", "start")`, by any path."""
        first, *rest = self.words[: len(program)] or ("",)
        return (first.rpartition("/")[2], *rest) == program


def commands_of(line: str) -> Iterator[Command]:
    """The simple commands of a shell line, in their order.

    Raises:
        ValueError: a quote is not closed.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()\n")
    lexer.whitespace_split = True
    lexer.whitespace = " \t\r"
    lexer.commenters = ""
    exported: dict[str, str] = {}
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token not in _BETWEEN and not set(token) <= set(";&|()\n"):
            words.append(token)
            continue
        own = dict(exported)
        while words and (words[0] in _PREFIXES or _is_assignment(words[0])):
            word = words.pop(0)
            if _is_assignment(word):
                name, _, value = word.partition("=")
                own[name] = value
        if words and words[0] == "export":
            exported |= dict(word.split("=", 1) for word in words[1:] if _is_assignment(word))
        if words:
            yield Command(tuple(words), own)
        words = []


def environment_of(options: list[str]) -> dict[str, str]:
    """What `-e NAME=VALUE` and `--env NAME=VALUE` of `docker run` set.

    Raises:
        ValueError: a quote is not closed.
    """
    words = [word for option in options for word in shlex.split(str(option))]
    found = {}
    for index, word in enumerate(words):
        text = ""
        if word in ("-e", "--env"):
            text = words[index + 1] if index + 1 < len(words) else ""
        elif word.startswith("--env="):
            text = word.removeprefix("--env=")
        elif word.startswith("-e") and "=" in word and not word.startswith("--"):
            text = word.removeprefix("-e")
        if _is_assignment(text):
            name, _, value = text.partition("=")
            found[name] = value
    return found


def volumes_of(options: list[str]) -> list[tuple[str, str]]:
    """Folders of the machine and where containers see them: `-v FROM:TO` and `--volume=FROM:TO`.

    Raises:
        ValueError: a quote is not closed.
    """
    words = [word for option in options for word in shlex.split(str(option))]
    given = [words[index + 1] for index, word in enumerate(words[:-1]) if word in ("-v", "--volume")]
    given += [word.partition("=")[2] for word in words if word.startswith("--volume=")]
    return [(parts[0], parts[1]) for parts in (text.split(":") for text in given) if len(parts) > 1]


def _is_assignment(word: str) -> bool:
    name, is_given, _ = word.partition("=")
    return bool(is_given) and name.isidentifier()
