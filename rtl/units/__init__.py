"""Numeric units: streams of beats in, streams of results out, exact to the bit."""
