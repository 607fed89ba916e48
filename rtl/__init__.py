"""Amaranth components. Nothing here knows a design file: widths, formats and tables arrive as parameters."""
