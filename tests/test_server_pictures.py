"""Pictures that are sent for a search or an enrolment: the service itself opens none of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest
from PIL import Image
from service_fixtures import Demo, asking, live
from skimage import data

from indexing import gallery
from indexing.decoding import DecodingLimits
from indexing.processes import MIB, resident
from indexing.search import search
from indexing.server import Limits, create_app
from indexing.store import Store
from tracker.video import content_hash


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody of the demo clip, lying on her side as a camera may write it."""
    path = tmp_path_factory.mktemp("pictures") / "Eileen in orange.jpg"
    turned = Image.Exif()
    turned[0x0112] = 6
    portrait = Image.fromarray(data.astronaut()[:300, 60:400])
    portrait.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=turned)
    return path


@pytest.fixture
def database(demo: Demo, tmp_path: Path) -> Path:
    return demo.copy(tmp_path)


@pytest.fixture
def service(database: Path) -> Iterator[httpx.Client]:
    limits = Limits(decoding=DecodingLimits(memory=160 * MIB, seconds=10.0))
    with (
        live(create_app(database, limits=limits, page=False)) as address,
        asking(f"{address}/api/v1", timeout=120) as client,
    ):
        yield client


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process, in which the service runs, unable to open any picture or video."""

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the service opened a picture itself")

    for target, name in ((Image, "open"), (av, "open")):
        monkeypatch.setattr(target, name, opened)
    for name in ("imread", "imdecode", "VideoCapture"):
        monkeypatch.setattr(f"cv2.{name}", opened)


@pytest.mark.usefixtures("blind")
def test_a_picture_is_searched_for_and_enrolled_by_a_service_that_cannot_open_it(
    service: httpx.Client, photograph: Path
) -> None:
    sent = {"file": (photograph.name, photograph.read_bytes())}
    found = service.post("/search", files=sent)
    assert found.status_code == 200, found.text
    [answer] = found.json()["items"]
    assert (answer["image"], answer["matches"][0]["label"]) == (photograph.name, "Person 1")
    told = service.post("/people/enroll", files=sent, data={"name": "Eileen"})
    assert told.status_code == 201, told.text


def test_a_search_finds_what_the_command_line_finds(service: httpx.Client, database: Path, photograph: Path) -> None:
    with Store(database) as store:
        [here] = search(store, [photograph])
    [there] = service.post("/search", files={"file": (photograph.name, photograph.read_bytes())}).json()["items"]
    x1, y1, x2, y2 = here.probe.box.tolist()
    x, y, width, height = there["box"]
    assert [x, y, x + width, y + height] == pytest.approx([x1, y1, x2, y2], abs=0.02)
    assert there["quality"] == round(here.probe.quality, 4)
    assert [one["similarity"] for one in there["matches"]] == [round(one.match.similarity, 6) for one in here.found]


def test_a_photograph_is_the_same_for_the_command_line_and_the_service(
    service: httpx.Client, database: Path, photograph: Path, tmp_path: Path
) -> None:
    sent = {"file": (photograph.name, photograph.read_bytes())}
    assert service.post("/people/enroll", files=sent, data={"name": "Eileen"}).status_code == 201
    [kept] = [path for path in (tmp_path / "demo.uploads").rglob("*") if path.is_file()]
    assert (kept.name, kept.read_bytes()) == (photograph.name, photograph.read_bytes())
    with Store(database) as store:
        [video] = [one for one in store.videos(enrolled=True) if one.enrolled]
        assert (video.path, video.info.content_hash) == (kept, content_hash(photograph))
        assert (video.info.width, video.info.height) == (340, 300)
        gallery.enroll(store, "Eileen", [photograph])
        assert len(store.videos(enrolled=True)) == 2, "the photograph was known"
    assert service.post("/undo", json={"count": 2}).status_code == 200
    assert list((tmp_path / "demo.uploads").iterdir()) == []


def png(side: int) -> bytes:
    """Return few bytes of black that are many pixels."""
    written = io.BytesIO()
    Image.new("1", (side, side)).save(written, "PNG")
    return written.getvalue()


@pytest.mark.skipif(not resident(), reason="this system does not tell of address space")
def test_a_picture_that_breaks_its_decoder_is_refused_and_the_service_goes_on(
    service: httpx.Client, photograph: Path, tmp_path: Path
) -> None:
    bad = {
        "costly.png": png(9_000),
        "torn.jpg": photograph.read_bytes()[:-3_000],
        "notes.jpg": b"no picture",
    }
    for name, content in bad.items():
        for path, fields in (("/search", {}), ("/people/enroll", {"name": "Eileen"})):
            files = [("file", (photograph.name, photograph.read_bytes())), ("file", (name, content))]
            answer = service.post(path, files=files, data=fields)
            assert (answer.status_code, name in answer.json()["detail"]) == (422, True), answer.text
            assert str(tmp_path) not in answer.text
    assert service.get("/stats").json()["corrections"] == 0
    assert list((tmp_path / "demo.uploads").iterdir()) == []
    assert service.post("/search", files={"file": ("a.jpg", photograph.read_bytes())}).status_code == 200


def test_a_decoder_that_hangs_is_ended(database: Path, photograph: Path) -> None:
    limits = Limits(decoding=DecodingLimits(seconds=0.01))
    with (
        live(create_app(database, limits=limits, page=False)) as address,
        asking(f"{address}/api/v1", timeout=60) as client,
    ):
        answer = client.post("/search", files={"file": ("slow.jpg", photograph.read_bytes())})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("slow.jpg: it cannot be decoded in 2048 MiB and 0 s")
        assert client.get("/people").status_code == 200
