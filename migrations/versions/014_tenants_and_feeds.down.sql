DROP FUNCTION delete_tenant_rows(name, uuid, integer);
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT, DELETE ON TABLES FROM wt_definer;
REVOKE SELECT (tenant_id) ON tenant_keys FROM wt_definer;
DROP TABLE deleted_positions, deleted_tenants, intake_refusals;
ALTER TABLE feeds
    DROP CONSTRAINT fk_feeds_emr_instance, DROP CONSTRAINT ck_feeds_refusal_answer,
    DROP CONSTRAINT ck_feeds_bounds, DROP COLUMN emr_instance_id, DROP COLUMN facilities,
    DROP COLUMN receiving_applications, DROP COLUMN receiving_facilities,
    DROP COLUMN certificates, DROP COLUMN refusal_answer, DROP COLUMN messages_per_second,
    DROP COLUMN connections_max, DROP COLUMN in_flight_bytes_max;
COMMENT ON COLUMN feeds.senders IS NULL;
DROP TABLE emr_instances;
ALTER TABLE tenants
    DROP CONSTRAINT ck_tenants_subdomain, DROP CONSTRAINT ck_tenants_rate,
    DROP COLUMN messages_per_second, DROP COLUMN suspended_at, DROP COLUMN exported_at;
DO $$
DECLARE
    each regclass;
BEGIN
    FOR each IN
        SELECT pg_class.oid FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
          AND (attname = 'tenant_id' OR relname = 'tenants' AND attname = 'id')
    LOOP
        EXECUTE 'REVOKE DELETE ON ' || each || ' FROM wt_definer';
    END LOOP;
END $$;
