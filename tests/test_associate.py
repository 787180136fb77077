"""Detections become tracklets: the rules of birth, continuation, death and crossing."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracker.associate import AssociationOptions, Associator, Tracklet, match
from tracker.types import Carried, Detections, Float32, Source, UInt8

FPS = 25.0
GREY = np.zeros((36, 64), np.uint8)


class StillFlow:
    """Flow of a picture in which nothing moves; it loses all faces while ``blind``."""

    def __init__(self, *, blind: bool = False) -> None:
        self.blind = blind

    def carry(self, previous: UInt8, current: UInt8, boxes: Float32, *, width: int) -> Carried:
        return Carried(boxes, np.zeros(len(boxes)) if self.blind else np.ones(len(boxes)))


def found(*boxes: Sequence[float], score: float = 0.9) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score))


def follow(frames: Sequence[Detections | None], *, blind: bool = False) -> list[Tracklet]:
    associator = Associator(StillFlow(blind=blind), width=640, fps=FPS, options=AssociationOptions())
    for index, detections in enumerate(frames):
        associator.step(index, GREY, detections)
    return associator.finish()


HERE, THERE = (100, 100, 160, 180), (400, 100, 460, 180)


def test_two_faces_that_stay_are_two_tracklets() -> None:
    tracklets = follow([found(HERE, THERE)] * 10)
    assert [(t.first_frame, t.end_frame, t.hits) for t in tracklets] == [(0, 10, 10)] * 2


def test_the_order_of_detections_does_not_matter() -> None:
    tracklets = follow([found(HERE, THERE), found(THERE, HERE)] * 3)
    assert [t.end_frame for t in tracklets] == [6, 6]
    np.testing.assert_array_equal(np.unique(np.stack(tracklets[0].boxes), axis=0), [HERE])


def test_flow_carries_between_runs_of_the_detector() -> None:
    (tracklet,) = follow([found(HERE) if k % 4 == 0 else None for k in range(9)])
    assert [Source(s).name[0] for s in tracklet.sources] == list("DFFFDFFFD")


def test_a_weak_detection_goes_on_but_does_not_begin() -> None:
    assert follow([found(HERE, score=0.4)] * 5) == []
    (tracklet,) = follow([found(HERE), *[found(HERE, score=0.4)] * 4])
    assert tracklet.hits == 5


def test_a_face_without_detection_and_flow_is_lost_at_once() -> None:
    (tracklet,) = follow([found(HERE)] * 3 + [found()] * 5, blind=True)
    assert tracklet.end_frame == 3


def test_flow_alone_ends_after_the_patience_and_leaves_a_short_tail() -> None:
    options = AssociationOptions()
    (tracklet,) = follow([found(HERE)] * 3 + [found()] * 60)
    assert tracklet.end_frame == 3 + round(options.tail * FPS)
    bridged = follow([found(HERE)] * 3 + [found()] * 20 + [found(HERE)] * 3)
    assert [t.end_frame for t in bridged] == [26]


def test_a_tracklet_is_extended_backward_as_far_as_flow_vouches() -> None:
    (tracklet,) = follow([found()] * 30 + [found(HERE)] * 5)
    assert tracklet.first_frame == 30 - round(AssociationOptions().tail * FPS)
    assert set(tracklet.sources[:-5]) == {Source.FLOW}
    (unseen,) = follow([found()] * 30 + [found(HERE)] * 5, blind=True)
    assert unseen.first_frame == 30


def test_drift_of_flow_is_spread_over_the_frames_before_a_detection() -> None:
    (tracklet,) = follow([found(HERE), None, None, None, found(np.array(HERE) + 8)])
    np.testing.assert_allclose([box[0] for box in tracklet.boxes], [100, 102, 104, 106, 108], atol=1e-3)


def test_faces_that_cross_begin_anew_where_they_part() -> None:
    left = [(100 + 10 * k, 100, 160 + 10 * k, 180) for k in range(25)]
    right = [(340 - 10 * k, 100, 400 - 10 * k, 180) for k in range(25)]
    tracklets = follow([found(a, b) for a, b in zip(left, right, strict=True)])
    fresh = [t for t in tracklets if t.follows is not None]
    assert len(tracklets) == 4
    assert len(fresh) == 2
    assert {t.follows.number for t in fresh if t.follows} == {0, 1}
    assert all(t.follows and t.follows.end_frame == t.first_frame for t in fresh)


def test_a_box_carried_onto_a_detected_face_is_dropped() -> None:
    frames = [found(HERE, (130, 100, 190, 180))] * 3 + [found((120, 100, 180, 180))] * 6
    assert sorted(t.end_frame for t in follow(frames)) == [3, 3, 9]


@given(st.lists(st.lists(st.integers(0, 5), max_size=4, unique=True), min_size=1, max_size=12))
def test_no_two_tracklets_share_a_detection_and_every_strong_one_is_kept(frames: list[list[int]]) -> None:
    places = [(100 * k, 50, 100 * k + 60, 130) for k in range(6)]
    tracklets = follow([found(*[places[k] for k in chosen]) for chosen in frames])
    kept = [
        (t.first_frame + row, tuple(box)) for t in tracklets for row, box in enumerate(t.boxes) if t.sources[row] == 0
    ]
    assert len(kept) == len(set(kept))
    wanted = {(frame, tuple(map(float, places[k]))) for frame, chosen in enumerate(frames) for k in chosen}
    assert set(kept) == wanted


def test_match_is_best_in_total_not_greedy() -> None:
    a = np.array([[0, 0, 10, 10], [4, 0, 14, 10]], np.float32)
    b = np.array([[3, 0, 13, 10], [9, 0, 19, 10]], np.float32)
    assert match(a, b, gate=0.1) == [(0, 0), (1, 1)]
    assert match(a, b + 500, gate=0.1) == []


def test_patience_is_of_seconds_at_any_pace() -> None:
    lengths = []
    for pace in (25.0, 10.0):
        associator = Associator(StillFlow(), width=640, fps=25.0, options=AssociationOptions(tail=9.0))
        associator.pace(pace)
        for index in range(60):
            associator.step(index, GREY, found(HERE) if index < 5 else found())
        [tracklet] = associator.finish()
        lengths.append(tracklet.end_frame - tracklet.last_hit - 1)
    assert lengths == [25, 10]
