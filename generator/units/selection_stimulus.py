"""Input frames for proofs of units that select by value."""

import numpy as np
from tilewright.formats import IntFormat
from tilewright.units.fields import Beats
from tilewright.units.stimulus import frame_ends, frame_lengths, frame_slices, random_values


def ranked_frames(rng: np.random.Generator, count: int, *, number: IntFormat, k: int, index_bits: int) -> Beats:
    """Frames around length ``k`` and the reach of the index: of one value, of few (ties), rising, falling, random."""
    reach = 1 << index_bits
    lengths = [1, max(k - 1, 1), k, k + 1, 2 * k + 1, min(reach, 2048)]
    if reach < 2048:
        lengths.append(reach + 1)
    lengths += frame_lengths(rng, count - sum(lengths), min(4 * k + 8, 3 * reach))
    last = frame_ends(lengths)
    x = random_values(number, rng, len(last))
    for place, frame in enumerate(frame_slices(last)):
        length = frame.stop - frame.start
        match place % 5:
            case 0:
                x[frame] = np.sort(x[frame])
            case 1:
                x[frame] = rng.choice([number.low, -1, 0, number.high])
            case 2:
                x[frame] = np.sort(x[frame])[::-1]
            case 3:
                x[frame] = rng.integers(max(number.low, -2), 2, length)
    return {"x": x, "last": last}
