"""Which properties an operation's answers give to each class of callers."""
