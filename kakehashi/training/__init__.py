"""Training: from a recipe to a model directory, as a pure function of recipe, data and seed."""
