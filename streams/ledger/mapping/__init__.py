"""From a message as a feed sent it to drafts of events: pure, and replayable."""
