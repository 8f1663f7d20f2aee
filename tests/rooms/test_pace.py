from __future__ import annotations

from sfu.rooms.pace import Deadlines, Due, Pace, Timer


def due(name: str) -> Due:
    return Due(Timer.GRACE, name)


def test_deadlines_come_in_order_of_time_then_of_setting() -> None:
    deadlines = Deadlines()
    for name, when in (("c", 3.0), ("a", 1.0), ("b", 1.0)):
        deadlines.set(due(name), when)
    assert deadlines.next() == 1.0
    assert deadlines.pop(0.9) is None
    assert [deadlines.pop(9.0), deadlines.pop(9.0), deadlines.pop(9.0), deadlines.pop(9.0)] == [
        due("a"),
        due("b"),
        due("c"),
        None,
    ]
    assert deadlines.next() is None


def test_setting_again_moves_and_clearing_forgets() -> None:
    deadlines = Deadlines()
    deadlines.set(due("a"), 1.0)
    deadlines.set(due("a"), 5.0)
    deadlines.set(due("b"), 2.0)
    deadlines.clear(due("b"))
    deadlines.clear(due("unknown"))
    assert deadlines.when(due("a")) == 5.0
    assert deadlines.when(due("b")) is None
    assert deadlines.next() == 5.0
    assert len(deadlines) == 1


def test_moving_one_deadline_for_ever_does_not_grow_the_queue() -> None:
    deadlines = Deadlines()
    for step in range(10_000):
        deadlines.set(due("a"), float(step))
    assert len(deadlines._heap) < 200
    assert deadlines.pop(1e9) == due("a")


def test_a_pace_speaks_at_once_then_at_the_interval() -> None:
    pace = Pace(0.25)
    assert pace.ask(10.0) is None
    assert pace.ask(10.1) == 10.25
    assert pace.ask(10.2) == 10.25
    pace.spoke(10.25)
    assert pace.ask(10.3) == 10.5
    assert pace.ask(10.5) is None
