"""What an operation's answers show of its checks, compared with other versions of it."""
