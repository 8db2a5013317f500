"""Model packages that ship with slicewise, one folder each."""
