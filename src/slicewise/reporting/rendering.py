"""Templates -> pages. A page holds its style sheets and its one script, and the browser is told to load nothing."""

from __future__ import annotations

import base64
import hashlib

import jinja2
from markupsafe import Markup

from slicewise.reporting.view import PageView

_SCRIPT, _TEMPLATE = "report_viewer.js", "report.html.j2"


def render(page: PageView) -> bytes:
    """Returns a page of the report. Its policy lets the browser run its own script alone."""
    loader = jinja2.PackageLoader("slicewise.reporting")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = loader.get_source(environment, _SCRIPT)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    template = environment.get_template(_TEMPLATE)
    text = template.render(report=page, script=Markup(script), script_digest=digest)  # noqa: S704  it is our own
    # file names may hold bytes that are no valid text; they are written as \udcXX
    return text.encode("utf-8", errors="backslashreplace")
