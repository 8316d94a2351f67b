"""Sessions: in which order an actor's calls come, which steps are taken once, and at what pace."""
