"""LibreTranslate's HTTP API and the page, over an engine and a memory of corrections."""
