"""The ports of an attention engine that works on tiles of queries and of keys, and the order of their beats.

=========  ========================================================================================
stream     order, outermost first; a lane each
=========  ========================================================================================
q, result  kv head, tile of ``tile_q`` rows, element: of every row
k, v       kv head, tile of ``tile_q`` rows, ``cols`` keys that the tile meets, element: of every key
=========  ========================================================================================
"""

from dataclasses import dataclass

from .attention_ports import AttentionPorts, Job


@dataclass(frozen=True, kw_only=True)
class FusedPorts(AttentionPorts):
    """Ports of the engine; ``cols`` keys are a key tile, the last of a tile may have fewer."""

    cols: int

    def count(self, stream: str, job: Job) -> int:
        """Number of beats of ``stream`` that belong to ``job``."""
        if stream in ("q", "result"):
            return self.kv_heads * self.tiles(job) * self.head_dim
        if stream not in ("k", "v"):
            return super().count(stream, job)
        key_tiles = sum(-(-self.tile_keys(job, tile) // self.cols) for tile in range(self.tiles(job)))
        return self.kv_heads * key_tiles * self.head_dim

    def index(self, job: Job, beat: int, lane: int) -> tuple[int, int, int]:
        """Head, position among the queries and element in lane ``lane`` of the job's result beat ``beat``."""
        tile, element = divmod(beat, self.head_dim)
        kv_head, tile = divmod(tile, self.tiles(job))
        position, member = divmod(tile * self.tile_q + lane, self.group)
        return kv_head * self.group + member, position, element

    def unit(self, job: Job, beat: int, lane: int) -> str:
        """The row of PEs that made this value, and the tile in which it did."""
        return f"tile {beat // self.head_dim % self.tiles(job)}, row {lane}"
