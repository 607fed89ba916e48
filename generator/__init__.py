"""Tilewright: one YAML file in, a verified AI accelerator out."""

__version__ = "0.1.0"
