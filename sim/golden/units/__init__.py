"""Golden models of the numeric units: pure NumPy on int64, written from the contracts alone."""
