"""dataplanes/extproc."""
