"""Integer-exact NumPy models, written from the contracts and independently of the RTL."""
