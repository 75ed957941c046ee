"""Damage to safetensors files: the JSON header as a tree, lengths, and the data."""

import json
import struct
from random import Random

from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_tree import damaged_tree, with_literals

_ODD_FLOATS = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0")


def damaged_tensors(data: bytes, random: Random) -> bytes:
    """A safetensors file of which header or data are damaged; one in five as plain bytes."""
    if random.random() < 0.2 or len(data) < 9:
        # The front: what lies behind is mostly values.
        front = min(len(data), 4096)
        return damaged(data[:front], random) + data[front:]
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if random.random() < 0.25 and body:
        body = bytearray(body)
        for _ in range(random.choice((1, 16))):
            at = random.randrange(0, len(body), 4)
            body[at : at + 4] = random.choice(_ODD_FLOATS)
        return data[: 8 + length] + bytes(body)[: len(data) - 8 - length]
    metadata = header.get("__metadata__", {})
    keys = [key for key, value in metadata.items() if value[:1] in "{["]
    if keys and random.random() < 0.5:
        key = random.choice(keys)
        try:
            metadata[key] = with_literals(json.dumps(damaged_tree(json.loads(metadata[key]), random)))
        except ValueError:
            metadata[key] = metadata[key][:-1]
        text = json.dumps(header)
    else:
        text = with_literals(json.dumps(damaged_tree(header, random)))
    encoded = text.encode("utf-8", "surrogatepass")
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + body
