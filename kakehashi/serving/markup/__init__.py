"""Text with tags in it: a translator gets the text, and the tags go with their words."""
