ALTER TABLE dead_letters DROP COLUMN family;

REVOKE UPDATE (outcome, reason, mapper_version, events, message_type, control_hmac)
    ON messages FROM wt_worker;
COMMENT ON COLUMN messages.reason IS 'why ignored, dead or left out in part; never a patient''s data';
ALTER TABLE messages DROP CONSTRAINT ck_messages_outcome;
-- What waits is a dead letter to a release that knows of no waiting; its record is kept.
ALTER TABLE messages NO FORCE ROW LEVEL SECURITY;
UPDATE messages SET outcome = 'dead' WHERE outcome = 'parked';
ALTER TABLE messages FORCE ROW LEVEL SECURITY;
ALTER TABLE messages ADD CONSTRAINT ck_messages_outcome
    CHECK (outcome IN ('applied', 'ignored', 'dead'));
