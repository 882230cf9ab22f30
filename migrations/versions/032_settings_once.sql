-- A setting that is read as an uncorrelated subquery is read once for a statement (an InitPlan), and
-- not for each row that is looked at. What the policies say stays.

CREATE FUNCTION pg_temp.once(said text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(regexp_replace(regexp_replace(said,
        '\(NULLIF\(current_setting\([^)]+\), [^)]+\)\)::uuid\[\]', '(SELECT \&)::uuid[]', 'g'),
        '\(NULLIF\(current_setting\([^)]+\), [^)]+\)\)::uuid(?!\[)', '(SELECT \&)', 'g'),
        '(current_setting\([^)]+\)) =', '(SELECT \1) =', 'g')
$$;

DO $$
DECLARE policy record;
BEGIN
    FOR policy IN SELECT * FROM pg_policies WHERE schemaname = 'public' LOOP
        EXECUTE concat(
            'ALTER POLICY ', quote_ident(policy.policyname), ' ON ', quote_ident(policy.tablename),
            ' USING (' || pg_temp.once(policy.qual) || ')',
            ' WITH CHECK (' || pg_temp.once(policy.with_check) || ')'
        );
    END LOOP;
END
$$;

DROP FUNCTION pg_temp.once;
