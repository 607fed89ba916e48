"""`family: gemm`: matrix products on systolic arrays."""
