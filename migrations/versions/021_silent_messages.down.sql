DROP INDEX idx_messages_silent;
