"""``result.txt`` read back: the beats of each job, as the batch harness and the cocotb benches dump them."""

from collections.abc import Iterable, Iterator


def beats_of_jobs(text: str, counts: Iterable[int]) -> Iterator[list[list[int]]]:
    """The beats of each job, of which ``counts`` has the number, (beats, lanes); a lane that does not count is 0.

    ValueError where the text holds fewer beats, or more.
    """
    lines = text.splitlines()
    start = 0
    for count in counts:
        end = start + count
        if end > len(lines):
            raise ValueError(f"{end - len(lines)} result beats too few")
        yield [[0 if word == "-" else int(word) for word in line.split()] for line in lines[start:end]]
        start = end
    if start < len(lines):
        raise ValueError(f"{len(lines) - start} result beats too many")
