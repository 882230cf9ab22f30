-- What a tenant is and may, how a feed is recognised, what was refused, what was deleted.

ALTER TABLE tenants ADD COLUMN messages_per_second INTEGER;
ALTER TABLE tenants ADD COLUMN suspended_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE tenants ADD COLUMN exported_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE tenants ADD CONSTRAINT ck_tenants_subdomain
    CHECK (subdomain ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$');
ALTER TABLE tenants ADD CONSTRAINT ck_tenants_rate CHECK (messages_per_second > 0);
COMMENT ON COLUMN tenants.messages_per_second IS 'of all its feeds together; none: no bound';
COMMENT ON COLUMN tenants.exported_at IS 'as of when everything was last written out';

CREATE TABLE emr_instances (
    tenant_id UUID NOT NULL,
    id UUID NOT NULL,
    name VARCHAR(100) NOT NULL,
    emr_system VARCHAR(20) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_emr_instances PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_emr_instances_tenant_id_name UNIQUE (tenant_id, name),
    CONSTRAINT ck_emr_instances_emr_system
        CHECK (emr_system IN ('EPIC', 'CERNER', 'GENERIC_FHIR', 'GENERIC_HL7V2')),
    CONSTRAINT fk_emr_instances_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);

ALTER TABLE feeds ADD COLUMN emr_instance_id UUID;
ALTER TABLE feeds ADD COLUMN facilities JSONB DEFAULT '[]' NOT NULL;
ALTER TABLE feeds ADD COLUMN receiving_applications JSONB DEFAULT '[]' NOT NULL;
ALTER TABLE feeds ADD COLUMN receiving_facilities JSONB DEFAULT '[]' NOT NULL;
ALTER TABLE feeds ADD COLUMN certificates JSONB DEFAULT '[]' NOT NULL;
ALTER TABLE feeds ADD COLUMN refusal_answer VARCHAR(2) DEFAULT 'AR' NOT NULL;
ALTER TABLE feeds ADD COLUMN messages_per_second INTEGER;
ALTER TABLE feeds ADD COLUMN connections_max INTEGER;
ALTER TABLE feeds ADD COLUMN in_flight_bytes_max INTEGER;
-- Of the tenant and its own instance: nobody learns by it which ids another tenant has.
ALTER TABLE feeds ADD CONSTRAINT fk_feeds_emr_instance
    FOREIGN KEY(tenant_id, emr_instance_id) REFERENCES emr_instances (tenant_id, id);
ALTER TABLE feeds ADD CONSTRAINT ck_feeds_refusal_answer CHECK (refusal_answer IN ('AR', 'AE'));
ALTER TABLE feeds ADD CONSTRAINT ck_feeds_bounds
    CHECK (messages_per_second > 0 AND connections_max > 0 AND in_flight_bytes_max > 0);
COMMENT ON COLUMN feeds.senders IS 'MSH-3; empty: any';
COMMENT ON COLUMN feeds.facilities IS 'MSH-4; empty: any';
COMMENT ON COLUMN feeds.receiving_applications IS 'MSH-5; empty: any';
COMMENT ON COLUMN feeds.receiving_facilities IS 'MSH-6; empty: any';
COMMENT ON COLUMN feeds.certificates IS 'SHA-256 of the client''s, in hex; empty: any or none';
COMMENT ON COLUMN feeds.refusal_answer IS 'MSA-1 of a message that is not taken';

CREATE TABLE intake_refusals (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id UUID,
    feed_id UUID,
    port INTEGER NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    reason VARCHAR(32) NOT NULL,
    sender_hmac UUID,
    refused BIGINT NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_intake_refusals PRIMARY KEY (id)
);
COMMENT ON COLUMN intake_refusals.tenant_id IS 'none where the port is several tenants''';
COMMENT ON COLUMN intake_refusals.feed_id IS 'none where it fitted no feed, or several';
COMMENT ON COLUMN intake_refusals.sender_hmac IS 'keyed hash of MSH-3 and MSH-4; none: not kept';
CREATE UNIQUE INDEX idx_intake_refusals_counted ON intake_refusals
    (hour, port, tenant_id, feed_id, reason, sender_hmac) NULLS NOT DISTINCT;
CREATE INDEX idx_intake_refusals_tenant ON intake_refusals (tenant_id);

-- Neither table holds a row of a tenant that there is: no policy, and nothing for apps.
CREATE TABLE deleted_tenants (
    id UUID NOT NULL,
    name_sha256 BYTEA NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    counts JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_deleted_tenants PRIMARY KEY (id)
);
COMMENT ON COLUMN deleted_tenants.deleted_at IS 'none: rows may be there still';
COMMENT ON COLUMN deleted_tenants.counts IS 'rows deleted, by table';

CREATE TABLE deleted_positions (
    table_name VARCHAR(63) NOT NULL,
    partition SMALLINT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    CONSTRAINT pk_deleted_positions PRIMARY KEY (table_name, partition, first_seq),
    CONSTRAINT ck_deleted_positions_ordered CHECK (first_seq <= last_seq)
);

GRANT SELECT, INSERT, UPDATE ON emr_instances TO wt_worker;
GRANT SELECT ON emr_instances TO wt_app, wt_definer;
ALTER TABLE emr_instances ENABLE ROW LEVEL SECURITY;
ALTER TABLE emr_instances FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON emr_instances TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON emr_instances TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE ON intake_refusals TO wt_worker;
GRANT SELECT ON intake_refusals TO wt_app, wt_definer;
ALTER TABLE intake_refusals ENABLE ROW LEVEL SECURITY;
ALTER TABLE intake_refusals FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON intake_refusals TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL)
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]) OR tenant_id IS NULL);
CREATE POLICY app ON intake_refusals TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

GRANT SELECT ON deleted_tenants, deleted_positions TO wt_worker;
GRANT SELECT ON deleted_tenants TO wt_definer;
GRANT INSERT ON deleted_positions TO wt_definer;
GRANT UPDATE (parked_keys) ON subscriptions TO wt_definer;

-- Deleting rows passes every policy, so it is a function that wt_migrate alone may call, as
-- wt_owner, and of a tenant whose deletion has begun; tables of later versions are among them from their first moment.
DO $$
DECLARE
    each regclass;
BEGIN
    FOR each IN
        SELECT pg_class.oid FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
          AND (attname = 'tenant_id' OR relname = 'tenants' AND attname = 'id')
    LOOP
        EXECUTE 'GRANT DELETE ON ' || each || ' TO wt_definer';
    END LOOP;
END $$;
GRANT SELECT (tenant_id) ON tenant_keys TO wt_definer;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, DELETE ON TABLES TO wt_definer;

GRANT CREATE ON SCHEMA public TO wt_definer;
CREATE FUNCTION delete_tenant_rows(relation name, tenant uuid, most integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    done bigint;
    chosen text := 'DELETE FROM public.' || quote_ident(relation) || ' WHERE tenant_id = $1';
    listed text := ' AND ctid = ANY (ARRAY(SELECT ctid FROM public.' || quote_ident(relation)
        || ' WHERE tenant_id = $1 LIMIT $2))';
BEGIN
    IF NOT EXISTS (SELECT FROM public.deleted_tenants WHERE id = tenant) THEN
        RAISE EXCEPTION 'no deletion of this tenant has begun' USING ERRCODE = '55000';
    END IF;
    IF relation = 'tenants' THEN
        DELETE FROM public.tenants WHERE id = tenant;
        GET DIAGNOSTICS done = ROW_COUNT;
    ELSIF relation IN ('tenant_keys', 'subject_keys') THEN  -- all at once: then nothing opens
        EXECUTE chosen USING tenant;
        GET DIAGNOSTICS done = ROW_COUNT;
    ELSIF relation IN ('events', 'verification_results') THEN  -- their positions are counted
        EXECUTE 'WITH gone AS (' || chosen || listed || ' RETURNING partition, partition_seq),
            islands AS (
                SELECT partition, partition_seq, partition_seq
                    - row_number() OVER (PARTITION BY partition ORDER BY partition_seq) AS island
                FROM gone
            ), kept AS (
                INSERT INTO public.deleted_positions (table_name, partition, first_seq, last_seq)
                SELECT $3, partition, min(partition_seq), max(partition_seq)
                FROM islands GROUP BY partition, island
            )
            SELECT count(*) FROM gone' INTO done USING tenant, most, relation;
    ELSIF relation = 'parked_records' THEN  -- their keys are counted, under the lock of who counts
        PERFORM FROM public.subscriptions WHERE parked_keys > 0
        ORDER BY subscription_id, topic, partition FOR UPDATE;
        EXECUTE chosen || listed USING tenant, most;
        GET DIAGNOSTICS done = ROW_COUNT;
        UPDATE public.subscriptions AS held SET parked_keys = (
            SELECT count(DISTINCT parked_key) FROM public.parked_records AS parked
            WHERE (parked.subscription_id, parked.topic, parked.partition)
                = (held.subscription_id, held.topic, held.partition)
        ) WHERE parked_keys > 0 AND done > 0;
    ELSE
        EXECUTE chosen || listed USING tenant, most;
        GET DIAGNOSTICS done = ROW_COUNT;
    END IF;
    RETURN done;
END $$;

ALTER FUNCTION delete_tenant_rows(name, uuid, integer) OWNER TO wt_definer;
REVOKE ALL ON FUNCTION delete_tenant_rows(name, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_tenant_rows(name, uuid, integer) TO wt_owner;
REVOKE CREATE ON SCHEMA public FROM wt_definer;
