"""Untrusted names: three hundred that break out of something, somewhere, where they are not escaped."""

from __future__ import annotations

from itertools import product

_PIECES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</text></svg><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<!--",
    "-->",
    "&amp;&lt;&#0;&#x0;&bogus;",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    '=HYPERLINK("https://evil.example","click")',
    "+cmd|' /C calc'!A0",
    "@everyone <!channel> <@U123>",
    "\u202eEvil\u202c \u2066bidi\u2069",
    "\u200f\u200e\u061c",
    "\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07",
    "line one\r\nline two\nBEGIN:VEVENT\r\nSUMMARY:injected",
    "END:VEVENT;VALUE=x:y,z\\n\\,\\;\\\\",
    'a"} 1\nevil_metric{a="b',
    'back\\slash\\"quote\\n',
    "%s%n%x %00 %0d%0a",
    "'; DROP TABLE connections; --",
    "../../etc/passwd",
    "https://evil.example/?q=<b>",
    "Z\u0335\u0321\u0322\u0327\u0328\u0317\u0318\u0319a\u0335lgo",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u4f60\u597d \u041f\u0440\u0438\u0432\u0435\u0442",
    "\ufeffbom \ufffe \uffff",
    "nul\x00byte \x07bell \x7fdelete \x85next",
    "\u2028line\u2029paragraph",
)
_LONG = ("x" * 10_000, "\u0338" * 10_000, "word " * 2_000, "\U0001f600" * 5_000, "<b>" * 3_000)
_WRAPPED = tuple(
    before + piece + after for (before, after), piece in product((("", ""), ("a", "b"), ("<", ">"), ('"', '"')), _PIECES)
)
_JOINED = tuple(first + second for first, second in product(_PIECES[:14], _PIECES[14:27]))

HOSTILE: tuple[str, ...] = tuple(dict.fromkeys((*_LONG, *_WRAPPED, *_JOINED)))[:300]
"""Three hundred different ones."""
