// ap_int<W> and ap_uint<W> for 1 <= W <= 64: what the kernel needs of the Vitis HLS types, for any C++14
// compiler. Expressions are computed in a built-in integer wide enough for the operands and cut to W bits on
// assignment. The Vitis types give the same values where the code keeps to these rules:
//   - widen before <<, and assign to a named variable before >>: the Vitis types keep the operand's width;
//   - no ?: over two different types; at most one product of operands wider than 31 bits per expression;
//   - assign before use: here a fresh variable holds a pattern of bits, there it holds anything.
#ifndef TILEWRIGHT_AP_INT_H
#define TILEWRIGHT_AP_INT_H

namespace ap_shim {

template <bool WIDE> struct expression { typedef long long type; };
template <> struct expression<true> { typedef __int128 type; };

template <int W, bool SIGNED>
class fixed_width {
    static_assert(1 <= W && W <= 64, "this ap_int.h has widths of 1 to 64 bits");
    unsigned long long bits;  // two's complement, the bits above W zero

    static const unsigned long long MASK = ~0ULL >> (64 - W);
    static const unsigned long long UNASSIGNED = 0xa5a5a5a5a5a5a5a5ULL;

public:
    typedef typename expression<(W > 31)>::type wide;  // sums and one product of two 31-bit values fit 64 bits

    fixed_width() : bits(UNASSIGNED & MASK) {}
    template <typename T> fixed_width(T value) : bits(static_cast<unsigned long long>(value) & MASK) {}

    operator wide() const {
        if (!SIGNED) return static_cast<wide>(bits);
        const unsigned long long sign = 1ULL << (W - 1);
        return static_cast<wide>(bits ^ sign) - static_cast<wide>(sign);
    }
    long long to_int64() const { return static_cast<long long>(static_cast<wide>(*this)); }
};

}  // namespace ap_shim

template <int W> using ap_int = ap_shim::fixed_width<W, true>;
template <int W> using ap_uint = ap_shim::fixed_width<W, false>;

#endif
