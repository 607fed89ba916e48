"""Trained networks with the data they are judged on, small enough to be committed."""
