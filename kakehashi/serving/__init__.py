"""Serving: an engine that translates for many clients at once, and the HTTP server around it."""
