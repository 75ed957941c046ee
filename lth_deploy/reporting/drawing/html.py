"""Templates filled into pages that stand alone.

A page loads nothing from anywhere. Its Content-Security-Policy admits exactly the one style sheet and the
one script that it carries, by hash, so that nothing from a hostile file could run even if escaping failed.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


def render_page(template: str, title: str, context: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The page as HTML text; same input, same text. `data` is embedded as JSON, in the element `lth-data`."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lth_deploy.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _asset("report.css"), _asset("report.js")
    frame = {
        "title": title,
        "style": Markup(style),
        "script": Markup(script),
        "policy": _policy(style, script),
        "data": Markup(_embedded(data)),
        "svg": Markup,
    }
    return environment.get_template(template).render({**context, **frame})


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that cannot end its script element, whatever the strings in it."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return resources.files("lth_deploy.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    def sha(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {sha(style)}; script-src {sha(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
