"""Operating the line: the command line, the embedded stack, workers, servers, lag."""
