ALTER TABLE feeds
    DROP CONSTRAINT ck_feeds_transient_answer, DROP CONSTRAINT ck_feeds_ignored_answer,
    DROP CONSTRAINT ck_feeds_acknowledgement, DROP CONSTRAINT ck_feeds_answer_when,
    DROP COLUMN transient_answer, DROP COLUMN ignored_answer, DROP COLUMN acknowledgement,
    DROP COLUMN answer_when;
