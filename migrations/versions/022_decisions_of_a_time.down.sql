DROP INDEX idx_verification_decisions_order;
ALTER TABLE verification_decisions
    DROP COLUMN due_at, DROP COLUMN window_ends_at, DROP COLUMN window_starts_at,
    DROP COLUMN rule_id, DROP COLUMN order_id, DROP COLUMN patient_id;
