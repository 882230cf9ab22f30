-- ANALYZE keeps values of a column, in whole up to 1 KiB, where no VACUUM of its table finds them.

-- To give a column the type that it has removes what was kept of it.
ALTER TABLE subject_keys ALTER COLUMN wrapped TYPE bytea, ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE tenant_keys ALTER COLUMN wrapped TYPE bytea, ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE messages
    ALTER COLUMN body_sealed TYPE bytea, ALTER COLUMN body_sealed SET STATISTICS 0;
ALTER TABLE dead_letters
    ALTER COLUMN record_sealed TYPE bytea, ALTER COLUMN record_sealed SET STATISTICS 0;
