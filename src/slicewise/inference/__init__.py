"""From a model package and scans to results. Needs no torch."""
