"""Expressions over rows of a service's response: JMESPath with a few functions, null-safe and bounded.

An expression comes from the configuration, the row from a service. Nothing here raises for a row, whatever it contains: what
cannot be evaluated is None. Time and memory are bounded when an expression is compiled, by its length, its depth and the
number of copies it can make of a value; no function can multiply the size of its argument.

JMESPath treats null, "", [], {} and false as false; 0 is true. Numbers are written in backticks, and names that contain
other characters than letters, digits and _ in double quotes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jmespath  # type: ignore[import-untyped]  # it has no types
from jmespath import exceptions, functions, visitor

from monitor.domain.rules.dates import parse_instant

MOST_CHARACTERS = 1000
MOST_DEPTH = 40
MOST_COPIES = 64
"""Maximum of the product of the lengths of all multi-select lists and hashes, each of which copies its input."""

_MOST_TEXT = 4096
"""Maximum length of a text that a function returns."""
_MOST_PARTS = 1000
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


class InvalidExpression(ValueError):
    """An expression that cannot be compiled. The message is the end of a sentence that begins with the place."""

    def __init__(self, message: str, *, column: int | None = None, function: str | None = None) -> None:
        super().__init__(message)
        self.column = column
        """Position of the error, from 1; None if it is not known."""
        self.function = function
        """The name of an unknown function; None for other errors."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. Two with the same text are equal."""

    text: str
    path: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    """The names of a plain dotted path, which is evaluated without JMESPath."""
    tree: Any = field(default=None, compare=False, repr=False)
    """The JMESPath tree of any other expression."""


def compile_expression(text: str) -> Expression:
    """Return the compiled expression. Raises InvalidExpression for bad syntax, unknown functions, and excessive size."""
    if len(text) > MOST_CHARACTERS:
        raise InvalidExpression(f"has {len(text):,} characters, but an expression may have at most {MOST_CHARACTERS:,}.")
    if _PATH.fullmatch(text):
        return Expression(text, path=tuple(text.split(".")))
    try:
        tree = jmespath.compile(text).parsed
    except exceptions.ParseError as exc:
        column = min(getattr(exc, "lex_position", 0) or 0, len(text)) + 1
        raise InvalidExpression(f"is not a valid JMESPath expression: see column {column}.", column=column) from None
    except (exceptions.JMESPathError, RecursionError, ValueError):
        raise InvalidExpression("is not a valid JMESPath expression.") from None
    if _check(tree, depth=0) > MOST_COPIES:
        raise InvalidExpression("copies its input too often: use fewer lists in brackets.")
    return Expression(text, tree=tree)


def _check(node: Mapping[str, Any], *, depth: int) -> int:
    """Return the number of copies that a tree can make of its input. Raises InvalidExpression."""
    if depth > MOST_DEPTH:
        raise InvalidExpression(f"is nested more than {MOST_DEPTH} levels deep.")
    kind, children = node["type"], node["children"]
    if kind == "literal":
        return 1
    if kind == "expref":
        raise InvalidExpression("contains an expression reference (&), which no function here takes.")
    if kind == "function_expression":
        _check_call(node["value"], len(children))
    copies = len(children) if kind in ("multi_select_list", "multi_select_dict") else 1
    for child in children:
        if isinstance(child, Mapping):
            copies *= _check(child, depth=depth + 1)
    return min(copies, MOST_COPIES + 1)


def _check_call(name: str, given: int) -> None:
    known = _Functions.FUNCTION_TABLE.get(name)
    if known is None:
        raise InvalidExpression(
            f"calls the unknown function {name[:40]}(); known are {', '.join(function_names())}.", function=name[:40]
        )
    takes = len(known["signature"])
    if given != takes:
        raise InvalidExpression(f"calls {name}() with {given} argument{'' if given == 1 else 's'}, but it takes {takes}.")


def function_names() -> tuple[str, ...]:
    """Return the functions that expressions can call."""
    return tuple(sorted(_Functions.FUNCTION_TABLE))


def function_docs() -> dict[str, tuple[tuple[str, ...], str]]:
    """Return the parameters and the description of each function that expressions can call."""
    found = {name: _Functions.FUNCTION_TABLE[name]["function"] for name in function_names()}
    return {
        name: (tuple(inspect.signature(method).parameters)[1:], (inspect.getdoc(method) or "").splitlines()[0])
        for name, method in found.items()
    }


class Evaluator:
    """Evaluates expressions at one instant."""

    def __init__(self, now: datetime) -> None:
        options = visitor.Options(custom_functions=_Functions(now))
        self._interpreter = visitor.TreeInterpreter(options)

    def value(self, expression: Expression, row: Any) -> Any:
        """Return the value of an expression for a row; None if it has none."""
        if expression.path is not None:
            for name in expression.path:
                if not isinstance(row, Mapping):
                    return None
                row = row.get(name)
            return row
        try:
            return self._interpreter.visit(expression.tree, row)
        except (exceptions.JMESPathError, TypeError, ValueError, RecursionError, OverflowError):
            return None

    def is_true(self, expression: Expression, row: Any) -> bool:
        """Return True if the value is neither null, false, nor empty. 0 is true."""
        return is_true(self.value(expression, row))


def is_true(value: Any) -> bool:
    """Return True if JMESPath treats a value as true: it is neither null, false, nor empty. A number that JSON lacks is not."""
    if isinstance(value, (str, list, dict)):
        return bool(value)
    return isinstance(value, (int, float)) and value is not False


def _takes(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function's parameters; any type is accepted, because null-safe functions check it themselves."""
    decorated: Callable[..., Any] = functions.signature(*({"types": []} for _ in kinds))
    return decorated


def _text(value: Any) -> str | None:
    """Return a text, or a number as a text; None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _numbers(value: Any) -> list[int | float]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, (int, float)) and not isinstance(item, bool)]


class _Registry(functions.FunctionRegistry):  # type: ignore[misc]  # the library has no types
    """Registers only the functions of the class itself: those of JMESPath raise for null, or are not bounded."""

    def _populate_function_table(cls) -> None:  # noqa: N805 - the class is the metaclass's instance
        cls.FUNCTION_TABLE = {
            name.removeprefix("_func_"): {"function": method, "signature": method.signature}
            for name, method in vars(cls).items()
            if name.startswith("_func_")
        }


class _Functions(functions.Functions, metaclass=_Registry):  # type: ignore[misc]  # as above
    """The functions. Each returns None, or false, for arguments of a type that it does not take."""

    FUNCTION_TABLE: dict[str, dict[str, Any]]

    def __init__(self, now: datetime) -> None:
        self._now = now

    @_takes("any")
    def _func_epoch(self, value: Any) -> float | None:
        """Return the Unix seconds of a date in any form that the monitor reads."""
        instant, _ = parse_instant(value)
        return None if instant is None else instant.timestamp()

    @_takes("any")
    def _func_now(self, value: Any) -> float:
        """Return the Unix seconds of the present, whatever the argument is: write `now(@)`."""
        del value
        return self._now.astimezone(UTC).timestamp()

    @_takes("any")
    def _func_lower(self, value: Any) -> str | None:
        """Return a text in lower case."""
        return value.lower() if isinstance(value, str) else None

    @_takes("any", "any")
    def _func_has(self, where: Any, what: Any) -> bool:
        """Return True if a text contains a text, or a list an equal item."""
        if isinstance(where, str):
            return isinstance(what, str) and what in where
        return isinstance(where, list) and any(type(item) is type(what) and item == what for item in where)

    _func_contains = _func_has

    @_takes("any", "any")
    def _func_starts_with(self, where: Any, what: Any) -> bool:
        """Return True if the first text begins with the second."""
        return isinstance(where, str) and isinstance(what, str) and where.startswith(what)

    @_takes("any", "any")
    def _func_ends_with(self, where: Any, what: Any) -> bool:
        """Return True if the first text ends with the second."""
        return isinstance(where, str) and isinstance(what, str) and where.endswith(what)

    @_takes("any")
    def _func_count(self, value: Any) -> int:
        """Return the length of a list, an object or a text; 0 for anything else."""
        return len(value) if isinstance(value, (str, list, dict)) else 0

    _func_length = _func_count

    @_takes("any", "any")
    def _func_split(self, value: Any, separator: Any) -> list[str] | None:
        """Return the parts of a text without surrounding white space and without empty parts."""
        if not isinstance(value, str) or not isinstance(separator, str) or not separator:
            return None
        parts = (part.strip() for part in value[:_MOST_TEXT].split(separator, _MOST_PARTS))
        return [part for part in parts if part]

    @_takes("any", "any")
    def _func_join(self, glue: Any, items: Any) -> str | None:
        """Return the texts and numbers of a list with a text between; null if an item is neither: an id would be wrong."""
        if not isinstance(glue, str) or not isinstance(items, list):
            return None
        size, parts = 0, []
        for item in items:
            part = _text(item)
            size += len(glue) + len(part or "")
            if part is None or size > _MOST_TEXT:
                return None
            parts.append(part)
        return glue.join(parts)

    @_takes("any")
    def _func_pairs(self, value: Any) -> list[dict[str, Any]] | None:
        """Return the entries of an object as {key, value}."""
        return [{"key": key, "value": item} for key, item in value.items()] if isinstance(value, dict) else None

    @_takes("any")
    def _func_keys(self, value: Any) -> list[str] | None:
        """Return the names of an object's fields."""
        return list(value) if isinstance(value, dict) else None

    @_takes("any")
    def _func_values(self, value: Any) -> list[Any] | None:
        """Return the values of an object's fields."""
        return list(value.values()) if isinstance(value, dict) else None

    @_takes("any")
    def _func_min(self, value: Any) -> int | float | None:
        """Return the least number of a list; other items are ignored."""
        return min(_numbers(value), default=None)

    @_takes("any")
    def _func_max(self, value: Any) -> int | float | None:
        """Return the greatest number of a list; other items are ignored."""
        return max(_numbers(value), default=None)

    @_takes("any")
    def _func_to_string(self, value: Any) -> str | None:
        """Return a text, or a number as a text."""
        found = _text(value)
        return None if found is None or len(found) > _MOST_TEXT else found

    @_takes("any")
    def _func_to_number(self, value: Any) -> int | float | None:
        """Return a number, or a text that is one as a number."""
        if isinstance(value, str) and len(value) <= 32:
            try:
                value = float(value) if set(value) & set(".eE") else int(value)
            except ValueError:
                return None
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
