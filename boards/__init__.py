"""Boards and devices as data."""
