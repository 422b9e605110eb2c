"""The command line: thin commands over the engine; parse, call, render, exit code."""
