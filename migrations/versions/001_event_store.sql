-- The event store: what we were told, and how far each reader is.

GRANT USAGE ON SCHEMA public TO wt_worker, wt_app, wt_definer;
GRANT SELECT ON alembic_version TO wt_worker, wt_app;  -- which revision this is

CREATE TABLE dead_letters (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id UUID,
    subscription_id VARCHAR(200) NOT NULL,
    topic VARCHAR(200) NOT NULL,
    partition SMALLINT NOT NULL,
    "offset" BIGINT NOT NULL,
    key BYTEA,
    feed_id UUID,
    message_id UUID,
    event_id UUID,
    stage VARCHAR(20) NOT NULL,
    cause VARCHAR(50) NOT NULL,
    reason TEXT NOT NULL,
    state VARCHAR(20) DEFAULT 'dead' NOT NULL,
    record_sealed BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_dead_letters PRIMARY KEY (id),
    CONSTRAINT uq_dead_letters_subscription_id_topic_partition_offset UNIQUE (subscription_id, topic, partition, "offset"),
    CONSTRAINT ck_dead_letters_state CHECK (state IN ('dead', 'parked', 'retried', 'discarded'))
);
COMMENT ON COLUMN dead_letters.tenant_id IS 'none where the record didn''t tell';
COMMENT ON COLUMN dead_letters.stage IS 'decode, map, decide, fold, write';
COMMENT ON COLUMN dead_letters.reason IS 'never a patient''s data';
COMMENT ON COLUMN dead_letters.record_sealed IS 'the whole record';
CREATE INDEX idx_dead_letters_created ON dead_letters (created_at);

CREATE TABLE events (
    event_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    stream_type VARCHAR(100) NOT NULL,
    event_type VARCHAR(200) NOT NULL,
    event_version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    tenant_id UUID NOT NULL,
    feed_id UUID NOT NULL,
    message_id UUID NOT NULL,
    person_id UUID,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    occurred_precision VARCHAR(10) NOT NULL,
    occurred_field VARCHAR(20) NOT NULL,
    occurred_text TEXT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    global_position BIGINT GENERATED ALWAYS AS IDENTITY,
    data JSONB NOT NULL,
    sealed JSONB DEFAULT '{}' NOT NULL,
    metadata JSONB NOT NULL,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (recorded_at) STORED,
    CONSTRAINT pk_events PRIMARY KEY (event_id),
    CONSTRAINT idx_events_stream UNIQUE (stream_id, event_version),
    CONSTRAINT idx_events_partition UNIQUE (partition, partition_seq),
    CONSTRAINT ck_events_counted_from_one CHECK (event_version > 0 AND partition_seq > 0),
    CONSTRAINT uq_events_global_position UNIQUE (global_position)
);
CREATE INDEX idx_events_created_at ON events (created_at);
CREATE INDEX idx_events_tenant ON events (tenant_id, created_at);
CREATE INDEX idx_events_type ON events (event_type, created_at);

CREATE TABLE messages (
    tenant_id UUID NOT NULL,
    feed_id UUID NOT NULL,
    message_id UUID NOT NULL,
    topic VARCHAR(200) NOT NULL,
    partition SMALLINT NOT NULL,
    "offset" BIGINT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    message_type VARCHAR(32) NOT NULL,
    outcome VARCHAR(10) NOT NULL,
    reason TEXT,
    mapper_version INTEGER NOT NULL,
    events SMALLINT NOT NULL,
    body_sealed BYTEA NOT NULL,
    control_hmac UUID,
    CONSTRAINT pk_messages PRIMARY KEY (tenant_id, feed_id, message_id),
    CONSTRAINT ck_messages_outcome CHECK (outcome IN ('applied', 'ignored', 'dead'))
);
COMMENT ON COLUMN messages.reason IS 'why ignored or dead; never a patient''s data';
COMMENT ON COLUMN messages.events IS 'how many it became';
COMMENT ON COLUMN messages.control_hmac IS 'keyed hash of MSH-10, which a feed may reuse';
CREATE INDEX idx_messages_recorded ON messages (tenant_id, recorded_at);

CREATE TABLE partitions (
    topic VARCHAR(200) NOT NULL,
    partition SMALLINT NOT NULL,
    next_seq BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT pk_partitions PRIMARY KEY (topic, partition)
);

CREATE TABLE patient_identifiers (
    tenant_id UUID NOT NULL,
    authority VARCHAR(200) NOT NULL,
    value_hmac UUID NOT NULL,
    type VARCHAR(20) NOT NULL,
    patient_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_patient_identifiers PRIMARY KEY (tenant_id, authority, value_hmac)
);
COMMENT ON COLUMN patient_identifiers.value_hmac IS 'keyed hash; the type is no part of it';
CREATE INDEX idx_patient_identifiers_patient ON patient_identifiers (patient_id);

CREATE TABLE snapshots (
    snapshot_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    stream_type VARCHAR(100) NOT NULL,
    version INTEGER NOT NULL,
    tenant_id UUID NOT NULL,
    state JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_snapshots PRIMARY KEY (snapshot_id),
    CONSTRAINT uq_snapshots_stream_id_version UNIQUE (stream_id, version)
);

CREATE TABLE streams (
    stream_id UUID NOT NULL,
    stream_type VARCHAR(100) NOT NULL,
    tenant_id UUID NOT NULL,
    partition SMALLINT NOT NULL,
    version INTEGER NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_streams PRIMARY KEY (stream_id)
);
COMMENT ON COLUMN streams.partition IS 'home; never changes';

CREATE TABLE subscriptions (
    subscription_id VARCHAR(200) NOT NULL,
    topic VARCHAR(200) NOT NULL,
    partition SMALLINT NOT NULL,
    topic_id VARCHAR(32),
    first_offset BIGINT DEFAULT '0' NOT NULL,
    next_offset BIGINT DEFAULT '0' NOT NULL,
    last_position BIGINT DEFAULT '0' NOT NULL,
    epoch BIGINT DEFAULT '0' NOT NULL,
    owner VARCHAR(200),
    leased_until TIMESTAMP WITH TIME ZONE,
    applied BIGINT DEFAULT '0' NOT NULL,
    duplicate BIGINT DEFAULT '0' NOT NULL,
    ignored BIGINT DEFAULT '0' NOT NULL,
    parked BIGINT DEFAULT '0' NOT NULL,
    dead BIGINT DEFAULT '0' NOT NULL,
    no_record BIGINT DEFAULT '0' NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_subscriptions PRIMARY KEY (subscription_id, topic, partition),
    CONSTRAINT ck_subscriptions_nothing_vanishes CHECK (next_offset - first_offset = applied + duplicate + ignored + parked + dead + no_record)
);
COMMENT ON COLUMN subscriptions.topic_id IS 'Kafka''s id of the topic; another one means loss';
CREATE INDEX idx_subscriptions_updated ON subscriptions (updated_at);

GRANT SELECT, INSERT, UPDATE ON dead_letters TO wt_worker;
GRANT SELECT ON dead_letters TO wt_app, wt_definer;
ALTER TABLE dead_letters ENABLE ROW LEVEL SECURITY;
ALTER TABLE dead_letters FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON dead_letters TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL)
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL);
CREATE POLICY app ON dead_letters TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT ON events TO wt_worker;
GRANT SELECT ON events TO wt_app, wt_definer;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON events TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON events TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT ON messages TO wt_worker;
GRANT SELECT ON messages TO wt_app, wt_definer;
ALTER TABLE messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE messages FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON messages TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON messages TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON partitions TO wt_worker;
GRANT SELECT ON partitions TO wt_app, wt_definer;

GRANT SELECT, INSERT ON patient_identifiers TO wt_worker;
GRANT SELECT ON patient_identifiers TO wt_app, wt_definer;
ALTER TABLE patient_identifiers ENABLE ROW LEVEL SECURITY;
ALTER TABLE patient_identifiers FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON patient_identifiers TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON patient_identifiers TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON snapshots TO wt_worker;
GRANT SELECT ON snapshots TO wt_app, wt_definer;
ALTER TABLE snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON snapshots TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON snapshots TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON streams TO wt_worker;
GRANT SELECT ON streams TO wt_app, wt_definer;
ALTER TABLE streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE streams FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON streams TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON streams TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON subscriptions TO wt_worker;
GRANT SELECT ON subscriptions TO wt_app, wt_definer;

