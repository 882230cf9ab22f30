ALTER TABLE messages DROP COLUMN cause;
