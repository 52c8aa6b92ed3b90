"""The base of every table of the configuration, and of the tables within it.

The modules that define tables do without `from __future__ import annotations`: to evaluate annotations from their text takes
pydantic a third of the time of their import.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T", bound=BaseModel)


class Table(BaseModel):
    """One table of the file. Unknown keys are errors, and no error contains a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True)


class _BuiltOnUse:
    """Builds the validator of a table when a configuration contains the table.

    Building all of them takes longer than validating a usual file, which contains few.
    """

    def __get_pydantic_core_schema__(self, table: type[BaseModel], _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(table.model_validate)


Inner = Annotated[T, _BuiltOnUse()]
"""A table within another one. Its mistakes have the same paths as if pydantic had nested it."""
