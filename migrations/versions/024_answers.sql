-- Which answers a feed gets, and when.

ALTER TABLE feeds ADD COLUMN transient_answer VARCHAR(2);
ALTER TABLE feeds ADD COLUMN ignored_answer VARCHAR(2) DEFAULT 'AA' NOT NULL;
ALTER TABLE feeds ADD COLUMN acknowledgement VARCHAR(8) DEFAULT 'auto' NOT NULL;
ALTER TABLE feeds ADD COLUMN answer_when VARCHAR(8) DEFAULT 'custody' NOT NULL;
ALTER TABLE feeds ADD CONSTRAINT ck_feeds_transient_answer
    CHECK (transient_answer IN ('AR', 'AE'));
ALTER TABLE feeds ADD CONSTRAINT ck_feeds_ignored_answer
    CHECK (ignored_answer IN ('AA', 'AE', 'AR'));
ALTER TABLE feeds ADD CONSTRAINT ck_feeds_acknowledgement
    CHECK (acknowledgement IN ('auto', 'original'));
ALTER TABLE feeds ADD CONSTRAINT ck_feeds_answer_when
    CHECK (answer_when IN ('custody', 'outcome'));
COMMENT ON COLUMN feeds.transient_answer IS
    'MSA-1 of a message that may be taken later; none: no answer';
COMMENT ON COLUMN feeds.ignored_answer IS
    'MSA-1 of a message that the ledger ignores, where answered by outcome';
COMMENT ON COLUMN feeds.acknowledgement IS
    'as MSH-15 and MSH-16 say, or original whatever they say';
COMMENT ON COLUMN feeds.answer_when IS 'custody: durable in Kafka; outcome: read by the ledger';
