"""Texts in, translations out: one queue, worker processes that share it, and what they see to."""
