-- What facts didn't keep: how precise their time is, and the places that an encounter states.

ALTER TABLE trajectory_facts ADD COLUMN effective_precision TEXT;
ALTER TABLE trajectory_facts ADD COLUMN stays JSONB;
COMMENT ON COLUMN trajectory_facts.effective_precision IS 'of effective_at, as sent; none: not kept';
COMMENT ON COLUMN trajectory_facts.stays IS 'what an encounter states of its places; none: no encounter';
