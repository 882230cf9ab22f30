-- What came when a message was mapped anew stands far from what it told at first. Few events are
-- of that kind, so the index costs the others nothing.

CREATE INDEX idx_events_remapped ON events (message_id) WHERE metadata ? 'remapped';

-- What was known by a fact that counts no more is told by it still.

ALTER TABLE trajectory_facts ADD COLUMN superseded_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN trajectory_facts.superseded_at IS
    'since when it counts no more, as its message was mapped anew; none: it counts';

-- Where nothing of a thing counts any more, its row goes.

GRANT DELETE ON
    admission_facts, admission_read_models, patient_read_models, timeline_events, trajectory_facts,
    verification_evidence, verification_orders
    TO wt_worker;
