"""Damage to bytes and text that knows nothing of what they mean."""

from random import Random

INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[31m",
    "\u202e",
    "\ufeff",
    "..",
    "../../secret",
    "/etc/passwd",
    "a" * 5000,
    "\u00e4\u20ac\U0001f600",
    "%s%n",
    "{0.__class__}",
    "-1",
    "1e999",
    "NaN",
    "null",
    "true",
    "0x10",
    "01",
    "1_000",
    "C:\\a\\b",
    "a/b",
    "con",
    "\n",
    "'\"",
    "<b>&amp;",
)


def damaged(data: bytes, random: Random) -> bytes:
    """`data` with one to four changes."""
    for _ in range(1 if random.random() < 0.6 else random.randint(2, 4)):
        data = _changed(data, random)
    return data


def _changed(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 2, 4, 8, 16, 64, 256)))
    kind = random.randrange(9)
    if kind == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + random.randbytes(end - at) + data[end:]
    if kind == 2:
        return data[:at] + data[end:]
    if kind == 3:
        return data[:end] + data[at:]
    if kind == 4:
        return data[:at]
    if kind == 5:
        width = random.choice((1, 2, 4, 8))
        number = random.choice(INTEGERS) % (1 << 8 * width)
        return data[:at] + number.to_bytes(width, random.choice(("little", "big"))) + data[at + width :]
    if kind == 6:
        other = random.randrange(len(data) + 1)
        return data[:at] + data[other : other + end - at] + data[end:]
    if kind == 7:
        return data[:at] + random.choice(TEXTS).encode() + data[at:]
    return data[:at] + data[at:end] * random.choice((2, 3, 100)) + data[end:]


def damaged_text(text: str, random: Random) -> bytes:
    """Text whose lines, words and numbers are exchanged, or bytes that are no text."""
    lines = text.split("\n")
    at = random.randrange(len(lines))
    kind = random.randrange(8)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, random.choice(lines))
    elif kind == 2:
        other = random.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 3:
        lines[at] = " " * random.randint(0, 9) + lines[at].lstrip()
    elif kind in (4, 5):
        words = lines[at].split(" ")
        source = random.choice(lines).split(" ") if kind == 4 else TEXTS
        words[random.randrange(len(words))] = random.choice(source)
        lines[at] = " ".join(words)
    else:
        return damaged(text.encode("utf-8", "surrogateescape"), random)
    return "\n".join(lines).encode("utf-8", "surrogateescape" if "\udcff" in text else "surrogatepass")
