"""Lake → Iceberg: the data files of a Delta table registered in an Iceberg table too, never in the committer's way."""
