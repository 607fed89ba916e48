"""Names a design may have: its module, its C++ kernel, its Python driver and its folder carry it."""

import keyword
import re

NAME_RULE = "a lowercase letter, then lowercase letters, digits and single underscores, 48 at most in all"
NAME_PATTERN = "^(?!.*__)[a-z][a-z0-9_]{0,47}$"  # the rule for editors

# IEEE 1364-2005 annex B and IEEE 1800-2017 annex B.
_VERILOG = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind
bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config
const constraint context continue cover covergroup coverpoint cross deassign default defparam design disable
dist do edge else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup
endinterface endmodule endpackage endprimitive endprogram endproperty endsequence endspecify endtable endtask
enum event eventually expect export extends extern final first_match for force foreach forever fork forkjoin
function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import
incdir include initial inout input inside instance int integer interconnect interface intersect join join_any
join_none large let liblist library local localparam logic longint macromodule matches medium modport module
nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed
parameter pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup
pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg
reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime
s_until s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on
table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior
trireg type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void
wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""

# ISO C++20 [lex.key] and the alternative tokens, and what is no keyword and as impossible for a kernel:
# main, std, hls, ap_int, ap_uint.
_CPP = """
alignas alignof and and_eq ap_int ap_uint asm auto bitand bitor bool break case catch char char16_t char32_t
char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr constinit
continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
friend goto hls if inline int long main mutable namespace new noexcept not not_eq nullptr operator or or_eq
private protected public register reinterpret_cast requires return short signed sizeof static static_assert
static_cast std struct switch template this thread_local throw true try typedef typeid typename union
unsigned using virtual void volatile wchar_t while xor xor_eq
"""

KEYWORDS = {
    "Verilog": frozenset(_VERILOG.split()),
    "C++": frozenset(_CPP.split()),
    "Python": frozenset([*keyword.kwlist, *keyword.softkwlist]),
}


def objection(name: str) -> str | None:
    """Why ``name`` cannot be the name of a design; None if it can."""
    if not re.fullmatch("[a-z][a-z0-9_]{0,47}", name) or "__" in name:
        return f"is not a name: {NAME_RULE}"
    languages = [language for language, words in KEYWORDS.items() if name in words]
    if languages:
        return f"is a word of {' and of '.join(languages)}; choose another name"
    return None
