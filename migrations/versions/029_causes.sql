-- The cause for which a message became nothing, beside the reason: who sent it is answered by it.

ALTER TABLE messages ADD COLUMN cause VARCHAR(50);
COMMENT ON COLUMN messages.cause IS 'of the reason, a code: by it a sender is answered';
GRANT UPDATE (cause) ON messages TO wt_worker;

-- What is dead or waits already has it in its letter.
ALTER TABLE messages NO FORCE ROW LEVEL SECURITY;
ALTER TABLE dead_letters NO FORCE ROW LEVEL SECURITY;
UPDATE messages SET cause = letter.cause FROM dead_letters AS letter
WHERE letter.subscription_id = 'ledger' AND letter.topic = messages.topic
  AND letter.partition = messages.partition AND letter."offset" = messages."offset"
  AND outcome IN ('dead', 'parked');
ALTER TABLE messages FORCE ROW LEVEL SECURITY;
ALTER TABLE dead_letters FORCE ROW LEVEL SECURITY;
