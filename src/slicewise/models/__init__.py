"""The networks of both stages, their losses and their export."""
