"""Records: immutable values with named fields, made for every connection that is judged.

They are msgspec's structs, which cost a tenth of a frozen dataclass to make and to compare (docs/adr/0011).
"""

from __future__ import annotations

from msgspec import Struct as Record
from msgspec import field
from msgspec.structs import replace

__all__ = ["Record", "field", "replace"]
