"""Kakehashi (架け橋, a bridge): build, measure and serve your own sequence models with the Transformer."""
