"""cocotb benches; they run from a build folder without the rest of the package."""
