-- A data key for each person, wrapped by the tenant's; nonces counted; keys re-wrapped.

CREATE TABLE subject_keys (
    tenant_id UUID NOT NULL,
    subject_id UUID NOT NULL,
    version INTEGER NOT NULL,
    wrapped BYTEA,
    tenant_key_version INTEGER NOT NULL,
    sealed BIGINT DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    destroyed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_subject_keys PRIMARY KEY (tenant_id, subject_id, version),
    CONSTRAINT ck_subject_keys_counted_from_one CHECK (version > 0),
    CONSTRAINT ck_subject_keys_nonces CHECK (sealed BETWEEN 0 AND 4294967296),
    CONSTRAINT ck_subject_keys_destroyed_is_gone
        CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
COMMENT ON COLUMN subject_keys.subject_id IS 'whom envelopes name as their person';
COMMENT ON COLUMN subject_keys.wrapped IS 'by the tenant''s key; none: destroyed';
COMMENT ON COLUMN subject_keys.tenant_key_version IS 'of the data key that wrapped';
COMMENT ON COLUMN subject_keys.sealed IS 'seals set aside for processes, used or not';
CREATE INDEX idx_subject_keys_wrapped_by ON subject_keys (tenant_id, tenant_key_version, subject_id) WHERE destroyed_at IS NULL;

-- A copy of a wrapped key would outlive its destruction: apps read none. Whose a key is never
-- changes, and no row of one is removed.
GRANT SELECT, INSERT ON subject_keys TO wt_worker;
GRANT UPDATE (wrapped, tenant_key_version, sealed, destroyed_at) ON subject_keys TO wt_worker;
ALTER TABLE subject_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE subject_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON subject_keys TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON subject_keys TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

-- A tombstone stays one, whoever asks: not by a statement of ours that raced with it, nor by
-- a row that a mistake brought back.
CREATE FUNCTION subject_key_stays_destroyed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF OLD.destroyed_at IS NOT NULL AND NEW.wrapped IS NOT NULL THEN
        RAISE EXCEPTION 'a destroyed key stays destroyed' USING ERRCODE = '23514',
            CONSTRAINT = 'subject_key_stays_destroyed';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER subject_key_stays_destroyed BEFORE UPDATE ON subject_keys
    FOR EACH ROW EXECUTE FUNCTION subject_key_stays_destroyed();

ALTER TABLE tenant_keys ADD COLUMN sealed BIGINT DEFAULT '0' NOT NULL;
COMMENT ON COLUMN tenant_keys.sealed IS 'seals set aside for processes, used or not';
GRANT UPDATE (sealed) ON tenant_keys TO wt_worker;

-- Under another root key a tenant's keys are wrapped anew, by who migrates and nobody else, and
-- only from what they were: a worker can't change a wrapped key.
GRANT CREATE ON SCHEMA public TO wt_definer;
GRANT SELECT, UPDATE ON tenant_keys TO wt_definer;
CREATE FUNCTION rewrap_tenant_key(
    tenant uuid, called text, numbered integer, was bytea, becomes bytea
) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE public.tenant_keys SET wrapped = becomes
    WHERE tenant_id = tenant AND purpose = called AND version = numbered AND wrapped = was;
    RETURN FOUND;
END
$$;
ALTER FUNCTION rewrap_tenant_key(uuid, text, integer, bytea, bytea) OWNER TO wt_definer;
REVOKE ALL ON FUNCTION rewrap_tenant_key(uuid, text, integer, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rewrap_tenant_key(uuid, text, integer, bytea, bytea) TO wt_migrate;
REVOKE CREATE ON SCHEMA public FROM wt_definer;
