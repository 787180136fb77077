"""The pages of the service: filled on the server, of use without a script, and quicker with one.

Every correction is a form. Without a script it is answered by the page that follows; the script sends the same form,
asks for JSON, tells what was done with a button that takes it back, and puts the parts of the page that have changed
in place. Only what a page cannot do by itself (the boxes over a playing video, uploads, searches by a picture) talks to
the interface below ``/api/v1``.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from indexing.server.page import forms, pages

STATIC = Path(__file__).parent / "static"
"""Style sheets and scripts, to be served at ``/static``."""

router = APIRouter(include_in_schema=False)
router.include_router(pages.router)
router.include_router(forms.router)
