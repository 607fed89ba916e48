"""What the flow needs to know of an FPGA architecture: its cells, how Yosys maps to them, what fits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.devices import Device
from tilewright.errors import CheckFailed, UserError
from tilewright.synth.soft_multipliers import MARK
from tilewright.synth.yosys import cell_models

# Columns of every utilization table. `lut` are logic LUTs: a carry cell and a LUT RAM take LUT sites
# too, which `Architecture.sites` adds up, and are told apart.
COLUMNS = ("lut", "ff", "dsp", "bram", "carry", "lutram", "spram")

_EBR_LIBRARY = "block_ram.txt"


@dataclass(frozen=True)
class Architecture:
    """One FPGA architecture in the open tools.

    ``target`` is the form of the datapath that generators should choose. ``cells`` maps a regular expression
    on cell types to the column that counts them; ``lut_sites`` is how many LUT sites a cell of a column
    takes.
    """

    name: str
    target: str
    cells: Mapping[str, str]
    lut_sites: Mapping[str, int]
    softens: bool                    # whether products beyond the multipliers of a part go into LUTs
    library: str                     # the Yosys command that reads the cells' ports
    models: tuple[str, ...]          # Yosys' simulation models
    own_models: tuple[str, ...]      # ours, in tilewright.boards, for the cells those lack
    cell_names: Mapping[str, str]    # what a column's cell is called in the part's documents

    def column(self, cell_type: str) -> str | None:
        """The column that counts ``cell_type``; None for multiplexers and the like."""
        for pattern, column in self.cells.items():
            if re.fullmatch(pattern, cell_type):
                return column
        return None

    def sites(self, counts: Mapping[str, int]) -> int:
        """LUT sites taken by ``counts``."""
        return sum(self.lut_sites.get(column, 0) * count for column, count in counts.items())

    def script(self, top: str) -> list[str]:
        """Yosys commands from flat RTLIL to a mapped netlist."""
        if self.name == "ice40":
            return [f"synth_ice40 -top {top} -device u -dsp -run begin:coarse",
                    f"chtype -set $__soft_mul a:{MARK}",
                    f"synth_ice40 -top {top} -device u -dsp -run coarse:"]
        # As synth_ecp5, but without the 36 bit wide block RAM, whose output registers cannot be used.
        # Collisions of a read and a write are don't-care only where the memory says no_rw_check.
        return [
            f"synth_ecp5 -top {top} -run begin:map_ram",
            f"memory_libmap -lib +/lattice/lutrams_trellis.txt -lib {_EBR_LIBRARY}",
            "techmap -map +/lattice/lutrams_map_trellis.v -map +/lattice/brams_map_16kd.v",
            f"synth_ecp5 -top {top} -run map_ffram:"]

    def script_files(self) -> dict[str, str]:
        """Files that :meth:`script` reads."""
        if self.name == "ice40":
            return {}
        library = cell_models("lattice/brams_16kd.txt").read_text(encoding="utf-8")
        return {_EBR_LIBRARY: library[:library.index("ram block $__PDPW16KD_")]}


ARCHITECTURES = {
    "ecp5": Architecture(
        name="ecp5", target="ecp5",
        cells={"LUT4": "lut", "TRELLIS_FF": "ff", "MULT18X18D": "dsp", "DP16KD": "bram", "CCU2C": "carry",
               "TRELLIS_DPR16X4": "lutram"},
        # A LUT RAM takes four LUTs for its data and the slice that holds its write port.
        lut_sites={"lut": 1, "carry": 2, "lutram": 6},
        softens=False,
        library="read_verilog -lib +/lattice/cells_sim_ecp5.v +/lattice/cells_bb_ecp5.v",
        models=("lattice/cells_sim_ecp5.v",), own_models=("ecp5_models.v",),
        cell_names={"lut": "LUT4", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram": "DP16KD",
                    "carry": "CCU2C", "lutram": "TRELLIS_DPR16X4"}),
    "ice40": Architecture(
        name="ice40", target="generic",
        cells={"SB_LUT4": "lut", r"SB_DFF\w*": "ff", "SB_MAC16": "dsp", r"SB_RAM40_4K\w*": "bram",
               "SB_CARRY": "carry", "SB_SPRAM256KA": "spram"},
        # A carry shares the site of the LUT behind it.
        lut_sites={"lut": 1},
        softens=True,
        library="read_verilog -D ICE40_U -lib +/ice40/cells_sim.v",
        models=("ice40/cells_sim.v",), own_models=(),
        cell_names={"lut": "SB_LUT4", "ff": "SB_DFF", "dsp": "SB_MAC16", "bram": "SB_RAM40_4K",
                    "carry": "SB_CARRY", "spram": "SB_SPRAM256KA"}),
}


def architecture_of(device: Device) -> Architecture:
    """The architecture of a device."""
    if device.architecture not in ARCHITECTURES:
        raise UserError(f"device {device.device!r}: architecture {device.architecture!r} has no flow; "
                        f"there are flows for {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[device.architecture]


def require_fit(device: Device, counts: Mapping[str, int]) -> None:
    """CheckFailed, one line, if ``counts`` need more than the device has: every resource and by how much."""
    architecture = architecture_of(device)
    needed = {"LUT": architecture.sites(counts)}
    needed |= {architecture.cell_names[column]: counts.get(column, 0)
               for column in ("ff", "dsp", "bram", "spram") if column in architecture.cell_names}
    available = {"LUT": device.resources.lut}
    available |= {architecture.cell_names[column]: getattr(device.resources, column)
                  for column in ("ff", "dsp", "bram", "spram") if column in architecture.cell_names}
    over = [f"{needed[name]} {name}, {needed[name] - available[name]} more than its {available[name]}"
            for name in needed if needed[name] > available[name]]
    if over:
        raise CheckFailed(f"the design does not fit {device.device}: it needs {'; '.join(over)}")
