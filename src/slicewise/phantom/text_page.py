"""Draws lines of text as an image: the pages that scanners burn into screen captures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from slicewise.phantom.fields import Field

SIZE = 256
_LINE = 16


def draw_page(lines: Sequence[str]) -> Field:
    """Returns grey levels 0 to 255, shape (SIZE, SIZE)."""
    page = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((8, 8 + _LINE * number), line, fill=255)
    return np.asarray(page, dtype=np.float32)
