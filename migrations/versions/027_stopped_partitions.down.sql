ALTER TABLE subscriptions
    DROP CONSTRAINT ck_subscriptions_stopped_said,
    DROP COLUMN stopped_at, DROP COLUMN stopped, DROP COLUMN stopped_said;
