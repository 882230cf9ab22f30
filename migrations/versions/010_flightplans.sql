-- Nothing has written rows here before, so that the columns need no default.
ALTER TABLE flightplan_read_models
    ADD COLUMN partition SMALLINT NOT NULL,
    ADD COLUMN partition_seq BIGINT NOT NULL;
