-- Whether a letter came behind another one: by that its message was answered.

ALTER TABLE dead_letters ADD COLUMN waited BOOLEAN DEFAULT false NOT NULL;
COMMENT ON COLUMN dead_letters.waited IS 'whether it came behind another one, whatever it is now';
ALTER TABLE dead_letters NO FORCE ROW LEVEL SECURITY;
UPDATE dead_letters SET waited = true WHERE cause = 'behind';
ALTER TABLE dead_letters FORCE ROW LEVEL SECURITY;
