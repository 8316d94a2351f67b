"""Numbers, words and relations of the values in requests."""
