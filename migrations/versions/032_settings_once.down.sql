-- Each setting for each row again.

CREATE FUNCTION pg_temp.each(said text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(regexp_replace(said,
        '\( SELECT (\(NULLIF\(current_setting\([^)]+\), [^)]+\)\)::uuid(?:\[\])?) AS "nullif"\)', '\1', 'g'),
        '\( SELECT (current_setting\([^)]+\)) AS current_setting\)', '\1', 'g')
$$;

DO $$
DECLARE policy record;
BEGIN
    FOR policy IN SELECT * FROM pg_policies WHERE schemaname = 'public' LOOP
        EXECUTE concat(
            'ALTER POLICY ', quote_ident(policy.policyname), ' ON ', quote_ident(policy.tablename),
            ' USING (' || pg_temp.each(policy.qual) || ')',
            ' WITH CHECK (' || pg_temp.each(policy.with_check) || ')'
        );
    END LOOP;
END
$$;

DROP FUNCTION pg_temp.each;
