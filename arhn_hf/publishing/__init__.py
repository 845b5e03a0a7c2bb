"""What a run writes: evidence, variants, card, lineage, and the folder they stand in."""
