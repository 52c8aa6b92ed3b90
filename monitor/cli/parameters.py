"""Conversion of command-line arguments without pydantic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer


class _DirectConversion:
    """Conversion of an option's value as typer converts it, for texts, for parsers, and for options that are not given.

    Typer loads pydantic to convert any value, even that of an option that is not given. This takes 60 ms, a fifth of a
    `status`. Everything else is left to typer.
    """

    def __init__(self, param: Any) -> None:
        self._by_typer: Callable[[], Any] = param.get_runtime_param
        self._many = param.multiple or param.nargs == -1
        descriptor = param.type_descriptor
        is_text = descriptor.annotation in (str, list[str])
        self._convert: Callable[[Any], Any] | None = descriptor.parameter_info.parser or (str if is_text else None)

    def coerce(self, value: Any, **context: Any) -> Any:
        """Return the converted value, or raise a usage error."""
        if value is None:
            return () if self._many else None
        if self._convert is None:
            return self._by_typer().coerce(value, **context)
        return [self._convert(item) for item in value] if self._many else self._convert(value)


def convert_directly(command: Any) -> None:
    """Make a command of typer, and all commands below it, convert arguments without pydantic where possible."""
    for param in command.get_params(typer.Context(command)):  # with --help
        if hasattr(param, "get_runtime_param"):
            conversion = _DirectConversion(param)
            param.get_runtime_param = lambda conversion=conversion: conversion
    for below in getattr(command, "commands", {}).values():
        convert_directly(below)
