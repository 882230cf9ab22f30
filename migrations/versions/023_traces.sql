-- A sender's question names a message by MSH-10; without it each one reads all of a tenant's.
CREATE INDEX idx_messages_control ON messages (tenant_id, control_hmac)
    WHERE control_hmac IS NOT NULL;
