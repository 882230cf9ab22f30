DROP INDEX idx_messages_control;
