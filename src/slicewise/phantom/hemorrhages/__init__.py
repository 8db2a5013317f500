"""Hemorrhages: which ones a study has, where they lie, and their soft occupancy fields, one module a subtype."""
