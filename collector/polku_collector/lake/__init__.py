"""Blocks of the journal become Parquet files and one fenced Delta commit; every line becomes exactly one row."""
