REVOKE DELETE ON
    admission_facts, admission_read_models, patient_read_models, timeline_events, trajectory_facts,
    verification_evidence, verification_orders
    FROM wt_worker;
ALTER TABLE trajectory_facts DROP COLUMN superseded_at;
DROP INDEX idx_events_remapped;
