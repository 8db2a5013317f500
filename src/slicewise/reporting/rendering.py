"""Templates -> pages. A page holds its style sheets and its one script, and the browser is told to load nothing."""

from __future__ import annotations

import base64
import hashlib

import jinja2
from markupsafe import Markup


def render(template: str, script: str, **content: object) -> bytes:
    """Returns a page. Its policy lets the browser run its own script alone, and load nothing.

    Args:
        template: Name of the template; it takes `script` and `script_digest` besides the content.
        script: Name of the script.
        content: What the template shows, by name; all texts in it are escaped.
    """
    loader = jinja2.PackageLoader("slicewise.reporting")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    code = loader.get_source(environment, script)[0]
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    own = Markup(code)  # noqa: S704  it is our own
    text = environment.get_template(template).render(script=own, script_digest=digest, **content)
    # file names may hold bytes that are no valid text; they are written as \udcXX
    return text.encode("utf-8", errors="backslashreplace")
