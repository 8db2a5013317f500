"""From files to the input of the networks. Needs no torch."""
