"""What the service refuses: foreign names and pages, missing tokens, paths outside, too much and too often."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakes import make_result
from service_fixtures import asking, live

from indexing.server import Limits, create_app
from indexing.server.received import safe_name
from indexing.server.run import serve
from indexing.server.security import HEADERS, RateLimit, cookie_of, read_token
from indexing.store import Store
from tracker.errors import FacetrackError

TOKEN = "a token that nobody guesses"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result(emotion_every=2))
        store.assign([(None, [1, 3]), (None, [2])])
        store.rename(1, "Ada Lovelace")
    return tmp_path / "a.db"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a video in it, and beside it what nobody may have."""
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "clip.mp4").write_bytes(b"a clip")
    (tmp_path / "films" / "way-out.mp4").symlink_to(tmp_path / "secret.mp4")
    return tmp_path / "films"


@pytest.fixture
def service(database: Path, root: Path) -> Iterator[httpx.Client]:
    limits = Limits(upload=1000, pictures=200_000, body=1000, searches=6)
    with (
        live(create_app(database, roots=[root], limits=limits, page=False)) as address,
        asking(address) as client,
    ):
        yield client


@pytest.fixture
def guarded(database: Path) -> Iterator[httpx.Client]:
    with live(create_app(database, token=TOKEN, page=False)) as address, asking(address) as client:
        yield client


# ---- names and pages of others


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::2]", "", "[", "a@b"]
)
def test_a_foreign_name_is_refused(service: httpx.Client, host: str) -> None:
    answer = service.get("/api/v1/people", headers={"Host": host})
    assert answer.status_code in (400, 421)
    assert b"Ada" not in answer.content


def test_names_of_this_machine_are_taken(service: httpx.Client) -> None:
    for host in ("localhost", "LOCALHOST:8000", "[::1]:8000", "127.0.0.1"):
        assert service.get("/api/v1/people", headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer something"},
    ],
)
def test_a_page_of_another_site_changes_nothing(service: httpx.Client, headers: dict[str, str]) -> None:
    for send in (
        lambda: service.post("/api/v1/people/1/name", json={"name": "Eve"}, headers=headers),
        lambda: service.post("/api/v1/undo", headers=headers),
        lambda: service.post("/api/v1/recluster", headers=headers),
        lambda: service.post("/api/v1/calibrate", headers=headers),
        lambda: service.delete("/api/v1/people/1", headers=headers),
        lambda: service.post("/login", data={"token": "x"}, headers=headers),
    ):
        assert send().status_code == 403
    assert service.get("/api/v1/people/1").json()["name"] == "Ada Lovelace"


def test_a_page_of_ours_may_change_something(service: httpx.Client) -> None:
    ours = [{"Sec-Fetch-Site": "same-origin"}, {"Origin": str(service.base_url).rstrip("/")}, {}]
    for number, headers in enumerate(ours):
        answer = service.post("/api/v1/people/1/name", json={"name": f"Ada {number} L."}, headers=headers)
        assert answer.status_code == 200, headers


def test_no_other_site_may_read(service: httpx.Client) -> None:
    answer = service.get("/api/v1/people", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = service.options(
        "/api/v1/people", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert asked.status_code == 405


# ---- the token


def paths(client: httpx.Client) -> list[tuple[str, str]]:
    document = client.get("/api/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    return [
        (method, re.sub(r"\{.*?\}", "1", path)) for path, methods in document["paths"].items() for method in methods
    ]


def test_everything_needs_the_token(guarded: httpx.Client) -> None:
    told = paths(guarded)
    assert len(told) > 40
    for method, path in [*told, ("get", "/metrics"), ("get", "/api/v1/openapi.json"), ("get", "/nothing")]:
        answer = guarded.request(method, path)
        if (method, path) in (("get", "/api/v1/health"), ("post", "/login")):
            assert answer.status_code in (200, 422), path
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path",
    ["/static/../api/v1/people", "/static/%2e%2e/api/v1/people", "//api/v1/people", "/login/../api/v1/people",
     "/api/v1/health/../people", "/api/v1/people/"],
)  # fmt: skip
def test_no_way_around_the_token(guarded: httpx.Client, path: str) -> None:
    address = guarded.base_url
    with socket.create_connection((address.host, address.port or 80)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"Ada" not in answer
    assert re.match(rb"HTTP/1.1 (401|404|307)", answer)


def test_the_token_opens_as_header_and_as_cookie(guarded: httpx.Client) -> None:
    for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \u00e4".encode()):
        assert guarded.get("/api/v1/people", headers={"Authorization": wrong}).status_code == 401, wrong
    assert guarded.get("/api/v1/people", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/api/v1/people", headers={"Cookie": f"facetrack_token={TOKEN}"}).status_code == 401
    assert guarded.get("/api/v1/people", headers={"Cookie": "facetrack_token"}).status_code == 401
    cookie = f"other=1; facetrack_token={cookie_of(TOKEN)}"
    assert guarded.get("/api/v1/people", headers={"Cookie": cookie}).status_code == 200


def test_logging_in_and_out(guarded: httpx.Client) -> None:
    assert guarded.post("/login", data={"token": "wrong"}).status_code == 401
    told = guarded.post("/login", data={"token": "wrong", "next": "/people?page=2"}, headers={"Accept": "text/html"})
    assert (told.status_code, told.headers["Location"]) == (303, "/login?failed=1&next=/people%3Fpage%3D2")
    logged_in = guarded.post("/login", data={"token": TOKEN, "next": "/people/1"})
    assert (logged_in.status_code, logged_in.headers["Location"]) == (303, "/people/1")
    cookie = logged_in.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= set(re.split("; ?", cookie))
    assert TOKEN not in cookie
    assert guarded.get("/api/v1/people").status_code == 200
    guarded.post("/logout")
    assert guarded.get("/api/v1/people").status_code == 401


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_logging_in_leads_to_this_service_only(guarded: httpx.Client, target: str) -> None:
    answer = guarded.post("/login", data={"token": TOKEN, "next": target})
    assert answer.headers["Location"] == "/"
    failed = guarded.post("/login", data={"token": "wrong", "next": target}, headers={"Accept": "text/html"})
    assert failed.headers["Location"] == "/login?failed=1&next=/"


def test_a_page_asks_for_the_token(guarded: httpx.Client) -> None:
    answer = guarded.get("/people/3", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/people/3")
    answer = guarded.get("/videos/1?t=2.5&lanes=all", headers={"Accept": "text/html"})
    assert answer.headers["Location"] == "/login?next=/videos/1%3Ft%3D2.5%26lanes%3Dall"


def test_no_token_no_foreign_address(database: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(FacetrackError, match="--token-file"):
            serve(database, host=host, port=0)


def test_no_token_no_foreign_name(database: Path) -> None:
    with pytest.raises(FacetrackError, match="token"):
        create_app(database, hosts=None)


def test_a_token_is_read_and_has_to_be_long(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(None, tmp_path / "token") == TOKEN
    assert read_token(None, None) is None
    for token, file in (("short", None), ("ä" * 20, None), (TOKEN, tmp_path / "token"), (None, tmp_path / "none")):
        with pytest.raises(FacetrackError, match="token"):
            read_token(token, file)


# ---- paths


@pytest.mark.parametrize(
    "path",
    ["{root}/../secret.mp4", "{root}/way-out.mp4", "/etc/passwd", "secret.mp4", "{root}/../films/../secret.mp4",
     "{root}x/clip.mp4", "/proc/self/environ", "{root}/%2e%2e/secret.mp4", "{root}/clip.mp4/../../secret.mp4"],
)  # fmt: skip
def test_no_file_outside_of_the_roots(service: httpx.Client, root: Path, path: str) -> None:
    answer = service.post("/api/v1/jobs", json={"path": path.format(root=root)})
    assert answer.status_code in (403, 422)
    assert service.get("/api/v1/jobs").json()["items"] == []


def test_what_is_no_path_is_refused(service: httpx.Client, root: Path) -> None:
    os.mkfifo(root / "pipe.mp4")
    for path in (f"{root}/a\0b", f"{root}/" + "a" * 500, str(root), f"{root}/pipe.mp4", f"{root}/none.mp4"):
        assert service.post("/api/v1/jobs", json={"path": path}).status_code == 422, path


@pytest.mark.parametrize("path", ["/static/%2e%2e/%2e%2e/etc/passwd", "/api/v1/videos/..%2f..%2fetc%2fpasswd/media",
                                  "/api/v1/exports/..%2f..%2fsecret", "/api/v1/exports/%2e%2e"])  # fmt: skip
def test_a_path_leads_nowhere_else(service: httpx.Client, path: str) -> None:
    assert service.get(path).status_code in (404, 422)


def test_a_settings_model_is_no_way_to_run_code(service: httpx.Client, root: Path) -> None:
    body = {"path": str(root / "clip.mp4"), "settings": {"detector": "os:system"}}
    assert service.post("/api/v1/jobs", json=body).status_code == 422


@pytest.mark.parametrize(
    "name", ["../../evil.mp4", "/etc/cron.d/evil", "..", ".hidden", "a\0b.mp4", "x" * 300 + ".mp4", "é" * 200]
)
def test_a_name_stays_in_its_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe not in ("", ".", "..")
    assert not set(safe) & set("/\\\0")
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 140


# ---- too much, too often


def test_too_large_is_refused_before_it_is_read(service: httpx.Client) -> None:
    answer = service.post("/api/v1/people/1/name", content=b"x" * 2000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_too_large_is_refused_though_its_length_was_not_told(service: httpx.Client, database: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert service.post("/api/v1/uploads", content=pieces(), headers=headers).status_code == 413
    assert list(database.with_suffix(".uploads").iterdir()) == []


def bomb(side: int = 30_000) -> bytes:
    """Return a PNG of few bytes and many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, rows = zlib.compressobj(9), io.BytesIO()
    for _ in range(side // 100):
        rows.write(packer.compress(bytes((side // 8 + 1) * 100)))
    rows.write(packer.flush())
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows.getvalue()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_picture_that_would_fill_the_memory_is_refused(service: httpx.Client) -> None:
    picture = bomb()
    assert len(picture) < 150_000
    answer = service.post("/api/v1/search", files={"file": ("bomb.png", picture)}, timeout=60)
    assert answer.status_code == 422
    assert "bomb.png" in answer.json()["detail"]


def test_too_many_searches_have_to_wait(service: httpx.Client) -> None:
    answers = [service.get("/api/v1/search", params={"person": 1}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
    assert service.get("/api/v1/people").status_code == 200


def test_a_rate_is_that_of_each_client_and_comes_back() -> None:
    limit = RateLimit(60)
    assert sum(limit.wait("a", now=0.0) == 0 for _ in range(50)) == 20
    assert limit.wait("b", now=0.0) == 0
    assert limit.wait("a", now=0.5) == pytest.approx(0.5)
    assert limit.wait("a", now=2.0) == 0


# ---- what every answer says, and what the log does not


def test_every_answer_has_the_headers(guarded: httpx.Client) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    for answer in (
        guarded.get("/api/v1/health"),
        guarded.get("/api/v1/people"),
        guarded.get("/api/v1/people", headers=token),
        guarded.get("/api/v1/people/99", headers=token),
        guarded.get("/nothing", headers=token),
        guarded.get("/api/v1/people", headers={"Host": "evil.example"}),
        guarded.post("/login", data={"token": "wrong"}),
        guarded.get("/api/v1/tracks/1/thumbnail.jpg", headers=token),
        guarded.get("/api/v1/exports/frames", headers=token),
    ):
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.url
        assert "Server" not in answer.headers
        assert "no-" in answer.headers["Cache-Control"]


def test_an_error_of_ours_tells_nothing(database: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(database, page=False)
    name = "Ada Lovelace"

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError(name)

    with caplog.at_level(logging.INFO), live(app) as address:
        answer = httpx.get(f"{address}/broken")
    assert answer.status_code == 500
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    told = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("indexing"))
    assert "Lovelace" not in answer.text + told
    assert "in broken" in caplog.text


def test_the_log_names_nobody(guarded: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    with caplog.at_level(logging.INFO):
        guarded.get("/api/v1/people", params={"q": "Ada Lovelace"}, headers=token)
        guarded.post("/api/v1/people/2/name", json={"name": "Charles Babbage"}, headers=token)
        guarded.post("/api/v1/people/2/name", json={"name": "Ada Lovelace"}, headers=token)
        guarded.get("/api/v1/exports/Ada", headers=token)
        guarded.get("/Ada", headers=token)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("indexing")]
    assert any(line.startswith("GET /api/v1/people 200") for line in lines)
    assert any(line.startswith("POST /api/v1/people/{person_id}/name 200") for line in lines)
    told = "\n".join(lines)
    assert not [name for name in ("Ada", "Babbage", TOKEN) if name in told]


def test_metrics_tell_of_routes_and_of_nobody(guarded: httpx.Client) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    guarded.get("/api/v1/people/1", headers=token)
    text = guarded.get("/metrics", headers=token).text
    assert 'facetrack_requests_total{method="GET",route="/api/v1/people/{person_id}",status="200"} 1.0' in text
    assert "facetrack_people 2.0" in text
    assert 'facetrack_jobs{state="queued"} 0.0' in text
    assert "Ada" not in text
