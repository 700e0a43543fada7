"""People, hospitals, and who belongs where."""
