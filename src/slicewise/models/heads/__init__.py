"""Heads of stage 2, one idea a file. `slicewise.models.fusion` builds them."""
