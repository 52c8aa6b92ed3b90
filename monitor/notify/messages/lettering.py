"""Letters as strokes: a picture with words in it needs no font then, wherever it is drawn."""

from __future__ import annotations

import unicodedata

ADVANCE = 6
"""The width of one letter with the space after it, on the grid of the strokes: letters are 4 wide and 6 high."""

# Strokes as pairs of digits, column then row from the top left; a space lifts the pen.
_STROKES = {
    "A": "0602204246 0343",
    "B": "06003041423303 3344453606",
    "C": "4130100105163645",
    "D": "06002042442606",
    "E": "40000646 0333",
    "F": "400006 0333",
    "G": "41301001051636454323",
    "H": "0006 4046 0343",
    "I": "1030 2026 1636",
    "J": "4045361605",
    "K": "0006 400346",
    "L": "000646",
    "M": "0600234046",
    "N": "06004640",
    "O": "103041453616050110",
    "P": "06003041423303",
    "Q": "103041453616050110 2446",
    "R": "06003041423303 2346",
    "S": "413010010213334445361605",
    "T": "0040 2026",
    "U": "000516364540",
    "V": "002640",
    "W": "0016233640",
    "X": "0046 4006",
    "Y": "002340 2326",
    "Z": "00400646",
    "0": "103041453616050110",
    "1": "112026 1636",
    "2": "01103041420646",
    "3": "004022324345361605",
    "4": "36300444",
    "5": "400002324345361605",
    "6": "30100105163645443303",
    "7": "004016",
    "8": "13020110304142331304051636454433",
    "9": "43130201103041453616",
    ".": "2626",
    ",": "2517",
    ":": "2222 2525",
    "-": "1333",
    "+": "2125 0343",
    "/": "4006",
    "(": "30212536",
    ")": "10212516",
    "_": "0646",
    "?": "01103041422324 2626",
}


def width(text: str, *, size: float) -> float:
    """How wide a line is when its letters are `size` high."""
    return max(len(text) * ADVANCE - 2, 0) * size / 6


def path(text: str, x: float, y: float, *, size: float) -> str:
    """The data of an SVG path that writes a line, its top left corner at x and y, its letters `size` high.

    Small letters and accents become plain capitals; what has no strokes becomes a question mark.
    """
    step = size / 6
    pieces: list[str] = []
    for place, letter in enumerate(_plain(text)):
        left = x + place * ADVANCE * step
        for stroke in _STROKES.get(letter, "" if letter == " " else _STROKES["?"]).split():
            points = [(left + int(stroke[at]) * step, y + int(stroke[at + 1]) * step) for at in range(0, len(stroke), 2)]
            pieces.append("M" + "L".join(f"{across:.1f} {down:.1f}" for across, down in points))
    return "".join(pieces)


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).upper()
