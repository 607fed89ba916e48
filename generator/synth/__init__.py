"""From RTL to netlist, routed Fmax and bitstream."""
