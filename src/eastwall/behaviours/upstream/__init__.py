"""Third parties: answers that are not as they were, that send us elsewhere, or that hold what is meant to be carried out."""
