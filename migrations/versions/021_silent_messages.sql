-- An erasure reads each of them; without it one page of 200 may read all of a tenant's messages.
CREATE INDEX idx_messages_silent ON messages (tenant_id, feed_id, message_id) WHERE events = 0;
