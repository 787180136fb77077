"""Who shows what when: a swimlane a person, as a picture for a paper or as a page that plays along with the video."""

from __future__ import annotations

from pathlib import Path

from indexing.plot.chart import read_chart
from indexing.store import Store
from indexing.types import Identity, VideoRecord


def plot(
    store: Store,
    output: Path,
    *,
    video: VideoRecord | None = None,
    identity: Identity | None = None,
    ignored: bool = False,
) -> None:
    """Draw a panel for each video and in it a lane for each person: when they are seen and what they show.

    A lane has the mix of the six emotions over time (what is left to full height is neutral), a bar coloured by the
    emotion of each episode, hatched where none is known, and a strip of valence; thin lines are shot boundaries.

    Args:
        store: The store.
        output: A picture (``.png``, ``.svg``, ``.pdf``), or a page (``.html``): one file that needs no network and
            jumps to the moment in the video, which it looks for where it is now, relative to the page.
        video: One video; None: all. Still pictures have no duration and are left out.
        identity: One person, ignored or not, in each video they are in; None: everybody.
        ignored: People who are ignored too.

    Raises:
        FacetrackError: if there is nothing to draw, the suffix is of another format or the folder does not exist.
    """
    drawn = read_chart(store, video=video, identity=identity, ignored=ignored)
    if output.suffix.lower() in (".html", ".htm"):
        from indexing.plot.page import write_page

        write_page(drawn, output)
    else:
        from indexing.plot.picture import draw_chart

        draw_chart(drawn, output)
