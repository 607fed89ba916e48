"""Run a feed-forward component at volume: one row of stimulus per clock cycle through a compiled model."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gemm_designs import CACHE
from tilewright.sim.verilator import compile_program

# Inputs change after the rising edge; row i of the response is what stood at the ports in cycle i.
MAIN = """\
#include <cstdio>
#include <cstring>
#include <vector>
#include "Vtop.h"
#include "verilated.h"
double sc_time_stamp() { return 0; }
int main(int, char** argv) {
    std::FILE* in = std::fopen(argv[1], "rb");
    std::FILE* out = std::fopen(argv[2], "wb");
    Vtop top;
    std::vector<unsigned char> row(sizeof(top.stimulus));
    top.rst = 0;
    while (std::fread(row.data(), 1, row.size(), in) == row.size()) {
        std::memcpy(&top.stimulus, row.data(), row.size());
        top.clk = 0;
        top.eval();
        std::fwrite(&top.response, 1, sizeof(top.response), out);
        top.clk = 1;
        top.eval();
    }
    top.final();
    return std::fclose(out);
}
"""


def run_rows(folder: Path, sources: Sequence[str], stimulus: np.ndarray) -> np.ndarray:
    """The response of module ``top`` to ``stimulus``, both uint32 of shape (cycles, words).

    ``top`` has ``clk``, ``rst`` and flat ports ``stimulus`` and ``response``, each more than 64 bits wide
    and a whole number of 32-bit words.
    """
    paths = [folder / f"source_{index}.v" for index in range(len(sources))]
    for path, text in zip(paths, sources, strict=True):
        path.write_text(text, encoding="utf-8")
    program = compile_program(sources=paths, top="top", main=MAIN, cache=CACHE)
    given, answered = folder / "stimulus.bin", folder / "response.bin"
    given.write_bytes(stimulus.tobytes())
    subprocess.run([program, given, answered], check=True)
    return np.frombuffer(answered.read_bytes(), np.uint32).reshape(len(stimulus), -1)
