"""The torch half: a process of its own in the user's interpreter."""
