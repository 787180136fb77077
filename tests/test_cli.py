"""The command line on real pictures: what it prints, what it stores, how it ends."""

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from fakes import make_result
from matplotlib.cbook import get_sample_data
from service_fixtures import Drawn
from typer.testing import CliRunner, Result

from indexing import Store, console
from indexing.cli import app
from indexing.colors import color
from indexing.demo import write_truth
from tracker.errors import FacetrackError
from tracker.video import open_video

ROOT = Path(__file__).parents[1]
HOPPER = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))


class SlowDetector:
    """Finds nothing, slowly: a run that can be interrupted."""

    model_id = "slow"

    def detect(self, image: np.ndarray) -> object:
        import time

        from tracker.types import Detections

        time.sleep(0.05)
        return Detections.empty()


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("tracker", "indexing")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.level, logger.propagate = handlers, level, propagate


def facetrack(*arguments: str | Path, ends: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == ends, result.output
    return result


def in_a_process(*arguments: str | Path) -> subprocess.Popen[str]:
    # A suite that runs in the background of a shell ignores SIGINT, and its children would, too.
    told = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{told}; from indexing.cli import main; sys.argv[0] = 'facetrack'; main()"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def write_video(path: Path, pictures: list[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.bit_rate = 4_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a moving Eileen Collins, a Grace Hopper and a picture of nobody."""
    folder = tmp_path_factory.mktemp("media")
    astronaut = np.ascontiguousarray(skimage.data.astronaut()[:320, 60:, ::-1])
    write_video(folder / "flight.mp4", [np.roll(astronaut, 2 * n, axis=1)[:320, :400] for n in range(12)])
    shutil.copy(HOPPER, folder / "hopper.jpg")
    cv2.imwrite(str(folder / "blank.png"), np.full((90, 120, 3), 128, np.uint8))
    return folder


@pytest.fixture(scope="module")
def made(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database that the command line made of the media."""
    db = tmp_path_factory.mktemp("made") / "facetrack.db"
    handlers = {name: logging.getLogger(name).handlers for name in ("tracker", "indexing")}
    result = facetrack("add", media, "--db", db)
    for name, before in handlers.items():
        logging.getLogger(name).handlers = before
        logging.getLogger(name).propagate = True
    assert "Person 1" in result.stdout
    assert "Person 2" in result.stdout
    return db


@pytest.fixture
def db(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the database to change."""
    with Store(made):
        pass
    for path in made.parent.glob("facetrack.db*"):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / "facetrack.db"


# ---- help and usage


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    code = "import sys, indexing.cli; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"numpy", "cv2", "sqlalchemy", "faiss", "av", "PIL", "matplotlib", "onnxruntime", "sklearn", "scipy"}
    assert heavy.isdisjoint(done.stdout.split())
    shown = facetrack("--help").stdout
    assert all(name in shown for name in ("add", "people", "appearances", "search", "export", "models", "evaluate"))


def test_the_five_lines_of_the_api_import() -> None:
    code = "from indexing import Store, process, identify; from tracker import track_faces; print(Store, track_faces)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    facetrack("add", ends=2)
    facetrack("fly", ends=2)
    facetrack("add", "x.mp4", "--preset", "heroic", ends=2)
    facetrack("add", "x.mp4", "--detect-every", "0", ends=2)
    facetrack("export", "--db", tmp_path / "facetrack.db", ends=2)


@pytest.mark.parametrize("command", [("people",), ("appearances", "1"), ("search", "a.jpg"), ("export", "--all")])
def test_a_database_that_is_not_there_is_told_and_not_made(command: tuple[str, ...], tmp_path: Path) -> None:
    result = facetrack(*command, "--db", tmp_path / "none.db", ends=1)
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# ---- add


def test_each_bad_file_has_its_line_and_the_rest_goes_on(media: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "nothing").mkdir()
    names = ("text.mp4", "empty.mp4", "nothing", "absent.mp4")
    bad = [tmp_path / name for name in names]
    db = tmp_path / "facetrack.db"
    result = facetrack("add", bad[0], bad[1], media / "hopper.jpg", bad[2], bad[3], "--db", db, ends=1)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad) + 1
    assert all(str(path) in line for path, line in zip(bad, errors, strict=False))
    assert "4 of 5 files failed" in errors[-1]
    assert "Person 1" in result.stdout
    with Store(db) as store:
        assert [video.path.name for video in store.videos()] == ["hopper.jpg"]


def test_adding_again_does_nothing_and_says_so(db: Path, media: Path) -> None:
    before = facetrack("people", "--json", "--db", db).stdout
    result = facetrack("add", media / "hopper.jpg", "--db", db)
    assert "unchanged" in result.stderr
    assert facetrack("people", "--json", "--db", db).stdout == before


def test_a_profile_names_the_stages(media: Path, tmp_path: Path) -> None:
    shown = facetrack("add", media / "hopper.jpg", "--db", tmp_path / "facetrack.db", "--profile").stdout
    assert "embed" in shown
    assert "frames/s" in shown


def test_an_unknown_model_lists_the_known_ones(media: Path, tmp_path: Path) -> None:
    result = facetrack("add", media, "--db", tmp_path / "facetrack.db", "--detector", "eyes", ends=1)
    assert "centerface" in result.stderr


def test_an_interruption_keeps_what_is_done_and_ends_with_130(media: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    write_video(tmp_path / "long.mp4", [noise] * 600)
    db = tmp_path / "facetrack.db"
    files = (media / "blank.png", tmp_path / "long.mp4")
    with in_a_process("add", *files, "--db", db, "--detector", "test_cli:SlowDetector") as process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("added"):
            assert line, "it ended before the first file was added"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "1 finished files are kept" in errors
    assert "Traceback" not in errors
    with Store(db) as store:
        assert [video.path.name for video in store.videos()] == ["blank.png"]


# ---- people, appearances, names


def test_people_as_json(db: Path) -> None:
    rows = json.loads(facetrack("people", "--json", "--db", db).stdout)
    assert [row["name"] for row in rows] == ["Person 1", "Person 2"]
    assert rows[0]["screen_time"] == pytest.approx(12 / 25)
    assert rows[0]["first_seen"]["video"].endswith("flight.mp4")
    assert all(Path(row["thumbnail"]).stat().st_size for row in rows)


def test_appearances_of_a_person_and_of_a_video(db: Path) -> None:
    [row] = json.loads(facetrack("appearances", "Person 1", "--json", "--db", db).stdout)
    assert (row["start"], row["end"]) == (0.0, pytest.approx(12 / 25))
    [same] = json.loads(facetrack("appearances", "flight.mp4", "--json", "--db", db).stdout)
    assert same == row
    assert "Person 1" in facetrack("appearances", "1", "--db", db).stdout
    assert "Person 2" in facetrack("appearances", "nobody", "--db", db, ends=1).stderr


def test_a_name_shows_everywhere(db: Path) -> None:
    facetrack("name", "1", "Eileen", "--db", db)
    assert "Eileen" in facetrack("people", "--db", db).stdout
    assert "Eileen" in facetrack("export", "flight.mp4", "--db", db).stdout
    assert json.loads(facetrack("appearances", "eileen", "--json", "--db", db).stdout)[0]["name"] == "Eileen"


@pytest.mark.parametrize("name", ["", "7", "Person 9", "a\nb", "\x1b[31mred"])
def test_a_name_that_cannot_be_one_is_refused(db: Path, name: str) -> None:
    assert "cannot name a person" in facetrack("name", "1", "--db", db, "--", name, ends=1).stderr


def test_who_is_forgotten_leaves_no_picture(db: Path) -> None:
    facetrack("people", "--db", db)
    facetrack("forget", "1", "--yes", "--db", db)
    assert [row["identity"] for row in json.loads(facetrack("people", "--json", "--db", db).stdout)] == [2]
    assert [path.name for path in (db.parent / "facetrack.thumbnails").iterdir()] == ["2.jpg"]


def test_a_removed_video_is_gone(db: Path) -> None:
    facetrack("remove", "flight.mp4", "--yes", "--db", db)
    assert "flight.mp4" not in facetrack("export", "--all", "--db", db).stdout
    facetrack("remove", "flight.mp4", "--yes", "--db", db, ends=1)


# ---- search, export, pictures


def test_search_answers_with_people_pictures_and_a_sheet(db: Path, tmp_path: Path) -> None:
    mirrored, sheet = tmp_path / "mirrored.png", tmp_path / "sheet.png"
    cv2.imwrite(str(mirrored), cv2.imread(str(HOPPER))[:, ::-1])
    found = facetrack("search", mirrored, "--json", "--sheet", sheet, "--db", db)
    [face] = json.loads(found.stdout)
    [match] = face["matches"]
    assert match["name"] == "Person 2"
    assert match["probability"] > 0.9
    assert match["appearances"][0]["video"].endswith("hopper.jpg")
    assert Path(match["thumbnail"]).is_file()
    assert sheet.is_file()
    assert "Person 2" in facetrack("search", mirrored, "--db", db).stdout


def test_a_picture_without_a_face_is_told_while_others_are_answered(db: Path, media: Path) -> None:
    result = facetrack("search", media / "blank.png", HOPPER, "--json", "--db", db, ends=1)
    assert "no face" in result.stderr
    assert json.loads(result.stdout)[0]["matches"][0]["name"] == "Person 2"
    assert json.loads(facetrack("search", media / "blank.png", "--json", "--db", db, ends=1).stdout) == []


def test_an_export_goes_to_a_file_or_to_standard_output(db: Path, media: Path, tmp_path: Path) -> None:
    facetrack("export", media, "--format", "frames", "-o", tmp_path / "out.csv", "--db", db)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert [row["success"] for row in rows].count("0") == 1
    assert {row["video"] for row in rows} == {str(media / n) for n in ("blank.png", "flight.mp4", "hopper.jpg")}
    assert facetrack("export", "--all", "--db", db).stdout == (tmp_path / "out.csv").read_text()
    lines = facetrack("export", "--all", "--format", "json", "--db", db).stdout.splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [int(row["frame"]) for row in rows]
    assert "frames, json" in facetrack("export", "--all", "--format", "xml", "--db", db, ends=1).stderr


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", [(0, 0, 5000)], frames=5000))
    with in_a_process("export", "--all", "--db", tmp_path / "facetrack.db") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


def test_the_picture_of_who_is_seen_when_is_written(db: Path, tmp_path: Path) -> None:
    facetrack("timeline", "-o", tmp_path / "when.png", "--db", db)
    assert (tmp_path / "when.png").read_bytes().startswith(b"\x89PNG")


def test_a_rendered_video_has_every_frame_and_the_boxes(db: Path, media: Path, tmp_path: Path) -> None:
    facetrack("render", "flight.mp4", "-o", tmp_path / "annotated.mp4", "--db", db)
    with open_video(tmp_path / "annotated.mp4") as made, open_video(media / "flight.mp4") as source:
        pairs = list(zip(made, source, strict=True))
    tint = np.array(color(1))[::-1] * 255
    assert len(pairs) == 12
    assert all((np.abs(a.image - tint).max(axis=2) < 40).sum() > 100 for a, _ in pairs)
    assert all(a.timestamp == pytest.approx(b.timestamp, abs=1e-3) for a, b in pairs)


def test_a_video_that_has_changed_is_not_rendered(media: Path, tmp_path: Path) -> None:
    db, clip = tmp_path / "facetrack.db", tmp_path / "clip.png"
    shutil.copy(media / "blank.png", clip)
    facetrack("add", clip, "--db", db)
    cv2.imwrite(str(clip), np.zeros((90, 120, 3), np.uint8))
    assert "not the file" in facetrack("render", clip, "-o", tmp_path / "o.png", "--db", db, ends=1).stderr
    clip.unlink()
    facetrack("render", clip, "-o", tmp_path / "o.png", "--db", db, ends=1)
    assert not (tmp_path / "o.png").exists()


# ---- models, evaluate


def test_models_are_listed_with_licence_hash_and_place() -> None:
    rows = {row["name"]: row for row in json.loads(facetrack("models", "--json").stdout)}
    assert {"centerface", "mediapipe", "yunet", "dlib", "sface", "mobilefacenet"} <= rows.keys()
    assert all(rows[name]["path"] for name in ("centerface", "dlib"))
    shown = facetrack("models").stdout
    assert all(row["sha256"] in shown and row["licence"] in shown for row in rows.values())
    assert "nothing" in facetrack("models", "pull", "nothing", ends=1).stderr


def test_a_model_that_is_here_needs_no_download() -> None:
    assert Path(facetrack("models", "pull", "centerface").stdout.strip()).is_file()


def test_an_evaluation_of_two_people_has_perfect_figures(tmp_path: Path) -> None:
    people = {"collins": skimage.data.astronaut()[:300, 60:360, ::-1], "hopper": cv2.imread(str(HOPPER))}
    for person, picture in people.items():
        (tmp_path / "faces" / person).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "faces" / person / "1.png"), picture)
        cv2.imwrite(str(tmp_path / "faces" / person / "2.png"), cv2.convertScaleAbs(picture[:, ::-1], alpha=0.8))
    result = facetrack("evaluate", tmp_path / "faces", "--json", "--roc", tmp_path / "roc.png")
    figures = json.loads(result.stdout)
    assert (figures["photographs"], figures["faces_found"], figures["people"]) == (4, 1.0, 2)
    assert (figures["genuine_pairs"], figures["impostor_pairs"]) == (2, 4)
    assert figures["tar_at_far"]["0.001"] == 1.0
    assert figures["bcubed_f"] == 1.0
    assert (tmp_path / "roc.png").is_file()
    assert "sub-folder" in facetrack("evaluate", tmp_path / "faces" / "hopper", ends=1).stderr


# ---- demo


def test_the_demo_finds_its_two_people_and_spares_other_databases(drawn: Drawn, tmp_path: Path) -> None:
    shown = json.loads(facetrack("demo", "--out", tmp_path / "demo", "--json").stdout)
    assert all(Path(path).stat().st_size for path in shown["files"])
    assert {"demo.mp4", "demo.db", "annotated.mp4", "timeline.png"} <= {Path(path).name for path in shown["files"]}
    with Store(tmp_path / "demo" / "demo.db") as store:
        store.add_video(make_result("mine.mp4", embedder_id=str(store.embedder_id), dimension=128))
    assert "--out" in facetrack("demo", "--out", tmp_path / "demo", ends=1).stderr
    assert [row["identity"] for row in sorted(shown["people"], key=lambda row: row["identity"])] == [1, 2]
    assert shown["score"]["recall"] > 0.9
    assert shown["score"]["precision"] > 0.95
    assert shown["score"]["idf1"] > 0.9
    # Its truth is the same each time.
    write_truth(drawn.truth, tmp_path / "truth.csv")
    assert (tmp_path / "demo" / "truth.csv").read_bytes() == (tmp_path / "truth.csv").read_bytes()


# ---- console


def test_an_error_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.complain(FacetrackError("two\nlines\x1b[31m of it"))
    assert capsys.readouterr().err == "error: two lines\\x1b[31m of it\n"
