"""The fused engine: scores, exponentials and values of a tile of queries and a tile of keys on one array of PEs."""
