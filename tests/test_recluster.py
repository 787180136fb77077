"""Adding to a store, clustering it anew, and what is told of it."""

from pathlib import Path

import pytest
from fakes import make_result

from indexing import pipeline
from indexing.corrections import Entry
from indexing.store import Store


def owners(store: Store) -> dict[tuple[int, int], int | None]:
    """Return whose each track is, by video and number."""
    return {(track.video_id, track.track_id): track.identity_id for track in store.track_records()}


def add(store: Store, name: str, *people: int) -> int:
    """Add a video in which people are seen one after another."""
    spans = [(person, 20 * place, 20 * place + 15) for place, person in enumerate(people)]
    return store.add_video(make_result(name, spans, frames=200))


def test_videos_one_after_another_give_each_person_one_id(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        for number, people in enumerate([(0, 1), (1, 2), (2, 0, 3), (3, 3, 1)]):
            before = owners(store)
            add(store, f"{number}.mp4", *people)
            pipeline.identify(store)
            assert before.items() <= owners(store).items()
        assert len(store.people()) == 4
        assert not pipeline.recluster(store)


def test_a_dry_run_tells_what_the_run_then_does(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        add(store, "a.mp4", 0, 1, 0, 2)
        pipeline.identify(store)
        first, second, third, fourth = (track.key for track in store.track_records())
        who, other = owners(store)[1, 0], owners(store)[1, 1]
        store.rename(who, "Ada")
        store.assign([(who, [first]), (other, [second, third]), (None, [fourth])])
        before = owners(store)
        told = pipeline.recluster(store, dry_run=True)
        assert owners(store) == before
        assert [(t.before, t.after, t.track_keys) for t in told.transfers] == [(f"Person {other}", "Ada", (third,))]
        assert told.moved == 1
        assert not told.split
        assert pipeline.recluster(store) == told
        assert owners(store)[1, 2] == who
        assert not pipeline.recluster(store, dry_run=True)


def test_the_run_calls_new_people_by_the_ids_they_got(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        add(store, "a.mp4", 0, 1)
        keys = [track.key for track in store.track_records()]
        (who,) = store.assign([(None, keys)])
        assert pipeline.recluster(store, dry_run=True).split == ((f"Person {who}", ("new person 1",)),)
        changes = pipeline.recluster(store)
        (_, (new,)) = changes.split[0]
        assert store.resolve_person(new).identity_id == owners(store)[1, 1] != who


def test_what_was_said_outlives_clustering_anew(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        add(store, "a.mp4", 0, 0, 0, 1)
        pipeline.identify(store)
        keys = [track.key for track in store.track_records()]
        ada = owners(store)[1, 0]
        store.correct(Entry("name", (ada,), pins={keys[0]: ada}, name="Ada"))
        store.correct(Entry("not", (ada,), bans=frozenset({(keys[1], ada)})))
        store.correct(Entry("assign", (ada,), pins={keys[3]: ada}))
        for again in (pipeline.identify, pipeline.recluster, pipeline.recluster):
            again(store)
            whose = owners(store)
            assert whose[1, 0] == whose[1, 3] == ada
            assert whose[1, 1] not in (ada, None)
        assert store.resolve_person("Ada").identity_id == ada


def test_adding_leaves_alone_who_is_not_like_the_new_ones(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        add(store, "a.mp4", 0, 1, 2)
        pipeline.identify(store)
        keys = [track.key for track in store.track_records()]
        (wrong,) = store.assign([(None, keys[:2])], among=keys[:2])  # as no clustering would have it
        add(store, "b.mp4", 2, 3)
        pipeline.identify(store)
        whose = owners(store)
        assert whose[1, 0] == whose[1, 1] == wrong
        assert whose[1, 2] == whose[2, 0]
        add(store, "c.mp4", 1)
        pipeline.identify(store)
        whose = owners(store)
        assert whose[3, 0] == whose[1, 1] != whose[1, 0]


def test_who_waits_is_not_looked_at_again_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    real = pipeline.identities.assign

    def spy(*arguments: object, fresh: list[int], **options: object) -> object:
        asked.append(fresh)
        return real(*arguments, fresh=fresh, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline.identities, "assign", spy)
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result("a.mp4", [(0, 0, 15), (1, 20, 24)], keyframes=0))
        pipeline.identify(store)
        assert [track.identity_id for track in store.track_records()] == [None, None]
        pipeline.identify(store)
        add(store, "b.mp4", 0)
        pipeline.identify(store)
        first, second, third = (track.key for track in store.track_records())
    assert asked == [[first, second], [], [third]]
