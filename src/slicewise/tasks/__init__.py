"""Task files that ship with slicewise."""
