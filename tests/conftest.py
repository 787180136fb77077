"""What all tests need: OpenCV imported the way that works on a bare server, before a test file imports it itself."""

import tracker.headless  # noqa: F401
