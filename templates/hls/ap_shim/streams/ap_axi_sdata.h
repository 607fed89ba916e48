// hls::axis<T, ...>: an AXI4-Stream beat with the side channels the kernel uses, TLAST and TUSER.
#ifndef TILEWRIGHT_AP_AXI_SDATA_H
#define TILEWRIGHT_AP_AXI_SDATA_H

#include <ap_int.h>

#define AXIS_ENABLE_LAST 0x10
#define AXIS_ENABLE_USER 0x40

namespace hls {

template <typename T, int USER_WIDTH = 0, int ID_WIDTH = 0, int DEST_WIDTH = 0, int ENABLED = AXIS_ENABLE_LAST>
struct axis {
    static_assert(ID_WIDTH == 0 && DEST_WIDTH == 0, "no TID, no TDEST");
    static_assert(ENABLED == (USER_WIDTH > 0 ? AXIS_ENABLE_LAST | AXIS_ENABLE_USER : AXIS_ENABLE_LAST),
                  "TLAST, and TUSER where it has a width");
    T data;
    ap_uint<(USER_WIDTH > 0 ? USER_WIDTH : 1)> user;
    ap_uint<1> last;
};

}  // namespace hls

#endif
