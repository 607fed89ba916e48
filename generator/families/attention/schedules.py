"""The registry of schedules."""

from tilewright.families.attention.fused2d import Fused2d
from tilewright.families.attention.schedule import Schedule
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.streaming import Streaming
from tilewright.families.attention.window_ring import WindowRing

SCHEDULES: dict[str, Schedule] = {schedule.name: schedule for schedule in (
    Streaming(),
    WindowRing(),
    Fused2d(),
)}


def schedule_of(spec: AttentionSpec) -> Schedule:
    """The schedule of ``spec``."""
    return SCHEDULES[spec.schedule]
