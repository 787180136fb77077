"""The numbered steps; a step that was released is never changed."""
