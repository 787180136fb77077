"""What all tests need: OpenCV imported the way that works on a bare server, before a test file imports it itself."""

import tracker.headless  # noqa: F401, I001
from service_fixtures import demo, demo_service, short_clip  # noqa: F401
