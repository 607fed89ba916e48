"""The registry of schedules."""

from tilewright.families.attention.fused2d import Fused2d
from tilewright.families.attention.schedule import Schedule
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.streaming import Streaming

SCHEDULES: dict[str, Schedule] = {schedule.name: schedule for schedule in (
    Streaming(),
    Fused2d(),
)}


def schedule_of(spec: AttentionSpec) -> Schedule:
    """The schedule of ``spec``."""
    return SCHEDULES[spec.schedule]
