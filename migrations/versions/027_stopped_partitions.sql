-- A partition whose owner stands still says so, until it moves or has another owner.

ALTER TABLE subscriptions ADD COLUMN stopped_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE subscriptions ADD COLUMN stopped VARCHAR(20);
ALTER TABLE subscriptions ADD COLUMN stopped_said TEXT;
ALTER TABLE subscriptions ADD CONSTRAINT ck_subscriptions_stopped_said
    CHECK ((stopped_at IS NULL) = (stopped IS NULL) AND (stopped IS NULL) = (stopped_said IS NULL));
COMMENT ON COLUMN subscriptions.stopped IS
    'why its owner stands still there: a kind of trouble';
COMMENT ON COLUMN subscriptions.stopped_said IS 'in words; never a patient''s data';
