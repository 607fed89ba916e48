"""Attention engines: queries stay, keys and values stream past."""
