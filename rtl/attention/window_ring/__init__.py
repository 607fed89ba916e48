"""Window attention on a ring of cores, each of which holds a key and its value."""
