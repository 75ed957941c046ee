"""Matplotlib figures as SVG text that follows the page's light or dark colors and its strict policy.

A page whose Content-Security-Policy forbids inline styles cannot use what matplotlib writes. So each style
becomes presentation attributes, and each theme color a CSS variable with its light value as fall-back.
"""

import io
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Name of the CSS variable to its color in light mode; the page's style sheet gives the dark ones.
THEME = {
    "ink": "#1c2430",
    "muted": "#667085",
    "line": "#e3e7ee",
    "surface": "#ffffff",
    "ticket": "#2158d8",
    "random": "#d9480f",
    "reinit": "#0c8f6b",
    "int8": "#7a3fb5",
    "dense": "#5b6577",
    "c1": "#3b6fe0",
    "c2": "#e0912f",
    "c3": "#1f9d78",
    "c4": "#b0539f",
    "c5": "#7a68d8",
    "c6": "#c9504a",
    "c7": "#5d8a2f",
    "c8": "#3a93b8",
}
_VARIABLES = {color: f"var(--{name}, {color})" for name, color in THEME.items()}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_PREFIX = "tip:"


class Canvas:
    """One figure under construction: axes in the house style, and tips shown when the pointer rests."""

    def __init__(self, width: float, height: float) -> None:
        """Width and height in inches."""
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(figsize=(width, height), layout="constrained")
        self.axes: Axes = self.figure.add_subplot()
        self._tips: dict[str, str] = {}
        _plain(self.axes)

    def tip(self, artist: "Artist", text: str) -> None:
        """Show `text` when the pointer rests on `artist`."""
        key = f"{_PREFIX}{len(self._tips)}"
        artist.set_gid(key)
        self._tips[key] = text

    def svg(self, name: str, description: str) -> str:
        """The figure as an SVG element.

        name: unique on the page, letters and digits; it prefixes every id. description: for screen readers.
        """
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        return _clean(buffer.getvalue(), name, description, self._tips)

    def png(self) -> bytes:
        """The figure as the bytes of a PNG file, in light colors on white."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=150, facecolor=THEME["surface"])
        return buffer.getvalue()


@contextmanager
def drawing() -> Iterator[None]:
    """Settings that make a figure small, deterministic, and its text real text that is never parsed."""
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "lth_deploy",
        "text.parse_math": False,
        "axes.unicode_minus": True,
        "font.size": 9.5,
        "font.family": "DejaVu Sans",
        "text.color": THEME["ink"],
        "axes.labelcolor": THEME["muted"],
        "legend.frameon": False,
    }
    with matplotlib.rc_context():
        # matplotlib reads a matplotlibrc of the working folder, which may make it run LaTeX, for instance.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def short(text: str, longest: int = 30) -> str:
    """The text, cut with an ellipsis: a long label must not make the plot smaller."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def legend_below(axes: "Axes") -> None:
    """A legend under the axis, in as many columns as fit: a wider legend would make the plot smaller."""
    longest = max(len(name) for name in axes.get_legend_handles_labels()[1])
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=max(1, min(4, 60 // (longest + 5))),
        handlelength=1,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def standalone(svg: str) -> str:
    """The same figure for a file of its own: fixed light colors on a white card."""
    fixed = re.sub(r"var\(--[a-z0-9]+, (#[0-9a-f]{6})\)", r"\1", svg)
    opening = fixed.index(">") + 1
    card = f'<rect width="100%" height="100%" fill="{THEME["surface"]}"/>'
    return f"{fixed[:opening].replace('<svg ', _FONT, 1)}{card}{fixed[opening:]}\n"


_FONT = '<svg font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" '


def _plain(axes: "Axes") -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(THEME["muted"])
    axes.tick_params(colors=THEME["muted"], length=0, pad=5)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="y", color=THEME["line"], linewidth=1)
    axes.set_axisbelow(True)


def _clean(source: str, name: str, description: str, tips: dict[str, str]) -> str:
    root = ET.fromstring(source[source.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    numbers = itertools.count()
    renamed: dict[str, str] = {}
    for element in root.iter():
        key = element.get("id")
        if key is None:
            continue
        if key in tips:
            title = ET.Element(f"{_SVG}title")
            title.text = tips[key]
            element.insert(0, title)
        renamed[key] = f"{name}-{next(numbers)}"
        element.set("id", renamed[key])
    for element in root.iter():
        _attributes(element, renamed)
    for unit in ("width", "height"):
        root.attrib.pop(unit, None)
    root.set("role", "img")
    root.set("aria-label", description)
    _drop_unused_ids(root)
    ET.register_namespace("", _SVG[1:-1])
    return ET.tostring(root, encoding="unicode")


def _attributes(element: ET.Element, renamed: dict[str, str]) -> None:
    """Replace `style` by attributes, and point references to the new ids."""
    for declaration in element.attrib.pop("style", "").split(";"):
        key, _, value = declaration.partition(":")
        if key.strip() and key.strip() != "font-family":
            element.set(key.strip(), value.strip())
    reference = element.attrib.pop(_HREF, "")
    if reference:
        element.set("href", "#" + renamed[reference[1:]])
    for key, value in element.attrib.items():
        if key in ("fill", "stroke"):
            value = _VARIABLES.get(value, value)
        element.set(key, re.sub(r"url\(#(.+?)\)", lambda match: f"url(#{renamed[match[1]]})", value))


def _drop_unused_ids(root: ET.Element) -> None:
    text = " ".join(value for element in root.iter() for key, value in element.attrib.items() if key != "id")
    used = set(re.findall(r"#([\w-]+)", text))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
