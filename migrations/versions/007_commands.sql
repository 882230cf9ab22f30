-- Commands: what became of each, beside the events that it became.

CREATE TABLE command_results (
    tenant_id UUID NOT NULL,
    command_id UUID NOT NULL,
    command_type VARCHAR(32) NOT NULL,
    stream_type VARCHAR(100) NOT NULL,
    stream_id UUID NOT NULL,
    outcome VARCHAR(10) NOT NULL,
    rule TEXT,
    said TEXT,
    version INTEGER NOT NULL,
    events SMALLINT NOT NULL,
    event_partition SMALLINT,
    event_seq BIGINT,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_command_results PRIMARY KEY (tenant_id, command_id),
    CONSTRAINT idx_command_results_partition UNIQUE (partition, partition_seq),
    CONSTRAINT ck_command_results_outcome CHECK (outcome IN ('accepted', 'rejected')),
    CONSTRAINT ck_command_results_rejected_by_rule
        CHECK ((outcome = 'rejected') = (rule IS NOT NULL AND said IS NOT NULL)),
    CONSTRAINT ck_command_results_placed
        CHECK ((events > 0) = (event_partition IS NOT NULL AND event_seq IS NOT NULL))
);
COMMENT ON COLUMN command_results.rule IS 'a code; which rule refused it';
COMMENT ON COLUMN command_results.said IS 'the rule in words; never a patient''s data';
COMMENT ON COLUMN command_results.version IS 'of the stream, after the command';
COMMENT ON COLUMN command_results.events IS 'how many it became';
COMMENT ON COLUMN command_results.event_partition IS 'of its last event, to read one''s write';
COMMENT ON COLUMN command_results.event_seq IS 'of its last event, to read one''s write';
COMMENT ON COLUMN command_results.partition IS 'the inbound one';
COMMENT ON COLUMN command_results.partition_seq IS 'the inbound offset, from one';
CREATE INDEX idx_command_results_stream ON command_results (stream_id);

GRANT SELECT, INSERT ON command_results TO wt_worker;
GRANT SELECT ON command_results TO wt_app, wt_definer;
ALTER TABLE command_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE command_results FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON command_results TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON command_results TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
