"""Values of options as they are typed: each mistake says what was found and what is allowed. (The option is named around it.)"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import typer

from monitor.config.wording import nearest
from monitor.domain.text import clean

Chosen = TypeVar("Chosen", bound=str)
_LONGEST = 80


def shown(text: str) -> str:
    """What was typed, where it can be repeated."""
    return clean(text, limit=_LONGEST, otherwise="nothing")


def whole_number(least: int, most: int) -> Callable[[str | int], int]:
    """Reads a whole number of these bounds."""

    def parse(text: str | int) -> int:
        typed = str(text).strip()
        number = int(typed) if typed.isascii() and typed.removeprefix("-").isdigit() and len(typed) < 10 else None
        if number is None or not least <= number <= most:
            raise typer.BadParameter(f"{shown(typed)} was given; a whole number from {least} to {most} is needed.")
        return number

    return parse


def number_from(least: int) -> Callable[[str | float], float]:
    """Reads a number that is not below this one."""

    def parse(text: str | float) -> float:
        typed = str(text).strip()
        try:
            number = float(typed)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= least):
            raise typer.BadParameter(f"{shown(typed)} was given; a number of at least {least} is needed.")
        return number

    return parse


def one_of(what: str, allowed: Iterable[Chosen]) -> Callable[[str], Chosen]:
    """Reads one of these words, and names the nearest one for any other."""
    words = list(allowed)

    def parse(text: str) -> Chosen:
        if text in words:
            return words[words.index(text)]
        near = nearest(text, words)
        hint = f"did you mean {near}? There are" if near else "there are"
        raise typer.BadParameter(f"There is no {what} {shown(text)}; {hint}: {', '.join(words)}.")

    return parse
