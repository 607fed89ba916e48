"""The GEMM engine: systolic array, operand buffers, sequencer, result path."""
