"""LSTM sequence-to-sequence models."""

from kakehashi.models.lstm.network import LSTM

__all__ = ["LSTM"]
