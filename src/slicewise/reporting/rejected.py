"""What was not scored, as the report shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from slicewise.reporting.view import RejectedRow, RejectedView
from slicewise.results import Rejection, Results

LONGEST_REJECTED_TABLE = 50
"""Beyond this many rows, what was not scored is shown by kind and reason; so it always is without file names."""


def rejected_view(results: Results) -> RejectedView:
    """Returns one row each, or one a kind and reason."""
    rejected = results.rejected
    return _rejected(rejected, grouped=results.anonymous or len(rejected) > LONGEST_REJECTED_TABLE)


def _rejected(rejected: Sequence[Rejection], *, grouped: bool) -> RejectedView:
    if not grouped:
        rows = [RejectedRow(1, item.path, _kind(item), item.reason, item.message) for item in rejected]
        return RejectedView(count=len(rejected), grouped=False, rows=tuple(rows))
    groups: defaultdict[tuple[str, str], list[Rejection]] = defaultdict(list)
    for item in rejected:
        groups[item.kind, item.reason].append(item)
    rows = [
        RejectedRow(len(items), items[0].path, _kind(items[0]), items[0].reason, items[0].message)
        for items in sorted(groups.values(), key=len, reverse=True)
    ]
    return RejectedView(count=len(rejected), grouped=True, rows=tuple(rows))


def _kind(item: Rejection) -> str:
    return item.kind.replace("_", " ")
