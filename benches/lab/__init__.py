"""The experiments of benches/run, one a file, and the programs they are made with."""
