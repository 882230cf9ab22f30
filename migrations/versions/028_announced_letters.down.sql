DROP INDEX idx_dead_letters_untold, idx_dead_letters_told;
ALTER TABLE dead_letters
    DROP COLUMN announced, DROP COLUMN announced_at, DROP COLUMN partition_seq;
