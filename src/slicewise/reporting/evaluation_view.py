"""The view model of the evaluation page: every text is final, the template only lays it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicewise.reporting.case_profiles import SeriesProfile
from slicewise.reporting.cases import Case
from slicewise.reporting.drawing import Illustration
from slicewise.reporting.evaluation_tables import TableView


@dataclass(frozen=True)
class DetailsView:
    """Tables that are shown on demand."""

    summary: str
    tables: tuple[TableView, ...]


@dataclass(frozen=True)
class ComparisonView:
    """Another model: `tables` hold both and their differences."""

    heading: str
    tables: tuple[TableView, ...]


@dataclass(frozen=True)
class CasesView:
    """The worst cases.

    Attributes:
        basis: What counts as flagged, and how the cases were chosen.
        kinds: Of false positives and of false negatives: heading, what to say without any, the cases.
        profiles: Axial profiles of their series, and of a typical one.
    """

    basis: str
    kinds: tuple[tuple[str, str, tuple[Case, ...]], ...]
    profiles: tuple[SeriesProfile, ...]


@dataclass(frozen=True)
class EvaluationView:
    """The whole page; `explorer` is what its script computes with, None where there is nothing to compute."""

    title: str
    disclaimer: str
    model_name: str
    software: str
    main_display: str
    leakage: tuple[str, ...]
    leakage_search: str
    warnings: tuple[str, ...]
    summary: tuple[str, ...]
    log_loss: str
    key_tables: tuple[TableView, ...]
    figures: dict[str, Illustration]
    calibration_tables: tuple[TableView, ...]
    point_tables: tuple[TableView, ...]
    point_details: tuple[DetailsView, ...]
    explorer: dict[str, Any] | None
    studies_a_day: int
    rule_tables: tuple[TableView, ...]
    rule_details: tuple[DetailsView, ...]
    subgroup_table: TableView | None
    triage: tuple[str, ...]
    cases: CasesView
    comparisons: tuple[ComparisonView, ...]
    facts: tuple[tuple[str, str], ...]
    definitions: dict[str, str]

    def figures_of(self, *names: str) -> tuple[Illustration, ...]:
        """Returns those of the figures that there are, in the order given."""
        return tuple(self.figures[name] for name in names if name in self.figures)
