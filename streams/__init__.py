"""Stream processors: the ledger, the projections, the relay, and the transport that feeds them."""
