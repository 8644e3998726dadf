"""Where images come from: the registry of sources and the readers behind it."""
