-- Messages wait in the ledger behind a dead one, and become something when they are released.

ALTER TABLE messages DROP CONSTRAINT ck_messages_outcome;
ALTER TABLE messages ADD CONSTRAINT ck_messages_outcome
    CHECK (outcome IN ('applied', 'ignored', 'dead', 'parked'));
COMMENT ON COLUMN messages.reason IS
    'why ignored, dead, parked or left out in part; never a patient''s data';
-- What it became, when it is released; what was told, and where it came, never change.
GRANT UPDATE (outcome, reason, mapper_version, events, message_type, control_hmac)
    ON messages TO wt_worker;

ALTER TABLE dead_letters ADD COLUMN family VARCHAR(20);
COMMENT ON COLUMN dead_letters.family IS 'of a feed''s message: adt, results, orders, …';
