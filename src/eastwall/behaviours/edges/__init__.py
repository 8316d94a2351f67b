"""Who calls what, and from where: edges that a settled caller never had."""
