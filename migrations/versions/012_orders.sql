-- Orders: what is known of each, and which of them a rule makes tasks of.

CREATE TABLE verification_orders (
    order_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    version INTEGER NOT NULL,
    patient_id UUID NOT NULL,
    admission_id UUID,
    state VARCHAR(20) NOT NULL,
    codes JSONB NOT NULL,
    said JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    partition SMALLINT NOT NULL,
    partition_seq BIGINT NOT NULL,
    CONSTRAINT pk_verification_orders PRIMARY KEY (order_id)
);
COMMENT ON COLUMN verification_orders.version IS 'of the order''s stream';
COMMENT ON COLUMN verification_orders.patient_id IS 'as told last';
COMMENT ON COLUMN verification_orders.admission_id IS 'as told last';
COMMENT ON COLUMN verification_orders.state IS 'placed, held, released, cancelled, discontinued';
COMMENT ON COLUMN verification_orders.codes IS 'all that it ever had while it stood';
COMMENT ON COLUMN verification_orders.said IS 'what was said last of each thing, and when';
CREATE INDEX idx_verification_orders_admission ON verification_orders (admission_id);
CREATE INDEX idx_verification_orders_codes ON verification_orders USING gin (codes jsonb_path_ops);
CREATE INDEX idx_verification_orders_patient ON verification_orders (patient_id);
CREATE INDEX idx_verification_orders_tenant ON verification_orders (tenant_id);

GRANT SELECT, INSERT, UPDATE ON verification_orders TO wt_worker;
GRANT SELECT ON verification_orders TO wt_app, wt_definer;
ALTER TABLE verification_orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE verification_orders FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON verification_orders TO wt_worker
    USING (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))
    WITH CHECK (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]));
CREATE POLICY app ON verification_orders TO wt_app
    USING (tenant_id = nullif(current_setting('wt.tenant', true), '')::uuid);

ALTER TABLE verification_rules ADD COLUMN order_codes JSONB NOT NULL DEFAULT '[]';
ALTER TABLE verification_rules ALTER COLUMN order_codes DROP DEFAULT;
ALTER TABLE verification_rules ADD COLUMN retired_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN verification_rules.order_codes IS 'all that ever made tasks of orders';
