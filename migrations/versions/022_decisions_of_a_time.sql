-- A task of an order is numbered by the times it is due: a decision counts for its time.

-- Of what stands already nobody can say, until the projection is rebuilt from the ledger.
ALTER TABLE verification_decisions
    ADD COLUMN patient_id UUID,
    ADD COLUMN order_id UUID,
    ADD COLUMN rule_id UUID,
    ADD COLUMN window_starts_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN window_ends_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN due_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN verification_decisions.patient_id IS 'as the decider had it';
COMMENT ON COLUMN verification_decisions.order_id IS
    'that makes the task; none: a command created it';
COMMENT ON COLUMN verification_decisions.rule_id IS 'by which it does';
CREATE INDEX idx_verification_decisions_order ON verification_decisions (order_id);
