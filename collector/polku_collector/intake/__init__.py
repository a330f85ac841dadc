"""A request becomes validated lines for the journal, or verdicts that say what is wrong with which event."""
