-- Each state of a dead letter is told on a topic; those that stand already too.

ALTER TABLE dead_letters ADD COLUMN announced VARCHAR(20);
ALTER TABLE dead_letters ADD COLUMN announced_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE dead_letters ADD COLUMN partition_seq BIGINT;
COMMENT ON COLUMN dead_letters.announced IS 'the state that was told last';
COMMENT ON COLUMN dead_letters.partition_seq IS 'where it is told, in dead-letters.v1';
CREATE INDEX idx_dead_letters_told ON dead_letters (partition, partition_seq);
CREATE INDEX idx_dead_letters_untold ON dead_letters (created_at, "offset", id)
    WHERE announced IS DISTINCT FROM state;
