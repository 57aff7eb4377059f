"""Events and values as HTML for the page."""
