-- What waits behind a record that could not be processed, and what is asked about it.

ALTER TABLE subscriptions ADD COLUMN parked_keys INTEGER DEFAULT '0' NOT NULL;
ALTER TABLE subscriptions ADD CONSTRAINT ck_subscriptions_parked_counted
    CHECK (parked_keys >= 0 AND parked >= 0 AND dead >= 0);
COMMENT ON COLUMN subscriptions.parked_keys IS 'of now';

ALTER TABLE dead_letters ADD COLUMN position BIGINT;
COMMENT ON COLUMN dead_letters.position IS 'the event''s partition_seq, where it was told';
CREATE INDEX idx_dead_letters_event ON dead_letters (event_id);
CREATE INDEX idx_dead_letters_open ON dead_letters (subscription_id, topic, partition, position)
    WHERE state IN ('dead', 'parked');

CREATE TABLE parked_records (
    subscription_id VARCHAR(200) NOT NULL,
    topic VARCHAR(200) NOT NULL,
    partition SMALLINT NOT NULL,
    parked_key VARCHAR(200) NOT NULL,
    "offset" BIGINT NOT NULL,
    tenant_id UUID,
    CONSTRAINT pk_parked_records PRIMARY KEY (subscription_id, topic, partition, parked_key, "offset")
);
COMMENT ON COLUMN parked_records.parked_key IS 'what waits; a pseudonym';
COMMENT ON COLUMN parked_records."offset" IS 'of a dead letter that is open';
COMMENT ON COLUMN parked_records.tenant_id IS 'the letter''s';
CREATE INDEX idx_parked_records_letter ON parked_records (subscription_id, topic, partition, "offset");

CREATE TABLE dead_letter_requests (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id UUID,
    letter_id UUID NOT NULL,
    subscription_id VARCHAR(200) NOT NULL,
    topic VARCHAR(200) NOT NULL,
    partition SMALLINT NOT NULL,
    action VARCHAR(10) NOT NULL,
    requested_by VARCHAR(200) NOT NULL,
    purpose VARCHAR(1000) NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    executed_at TIMESTAMP WITH TIME ZONE,
    ended VARCHAR(10),
    said TEXT,
    released INTEGER,
    CONSTRAINT pk_dead_letter_requests PRIMARY KEY (id),
    CONSTRAINT ck_dead_letter_requests_action CHECK (action IN ('retry', 'discard')),
    CONSTRAINT ck_dead_letter_requests_ended CHECK (ended IN ('done', 'partly', 'failed', 'moot')),
    CONSTRAINT ck_dead_letter_requests_ended_when_executed
        CHECK ((executed_at IS NULL) = (ended IS NULL))
);
COMMENT ON COLUMN dead_letter_requests.tenant_id IS 'the letter''s';
COMMENT ON COLUMN dead_letter_requests.purpose IS 'why; never a patient''s data';
COMMENT ON COLUMN dead_letter_requests.ended IS 'how';
COMMENT ON COLUMN dead_letter_requests.said IS 'in words; never a patient''s data';
COMMENT ON COLUMN dead_letter_requests.released IS 'records that were processed by it';
CREATE INDEX idx_dead_letter_requests_letter ON dead_letter_requests (letter_id);
CREATE UNIQUE INDEX idx_dead_letter_requests_open ON dead_letter_requests (letter_id)
    WHERE executed_at IS NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON parked_records TO wt_worker;
GRANT SELECT ON parked_records TO wt_app, wt_definer;
ALTER TABLE parked_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE parked_records FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON parked_records TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL)
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL);
CREATE POLICY app ON parked_records TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON dead_letter_requests TO wt_worker;
GRANT SELECT ON dead_letter_requests TO wt_app, wt_definer;
ALTER TABLE dead_letter_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE dead_letter_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON dead_letter_requests TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL)
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL);
CREATE POLICY app ON dead_letter_requests TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);
