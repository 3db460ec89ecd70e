"""What is asked and what is known: pools, tasks, scenarios, and suites of recorded outcomes."""
