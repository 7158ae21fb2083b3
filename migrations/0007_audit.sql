-- What:  an index of entries by time, what the janitor's audit has found, and how far it has come.
-- Why:   the audit looks at each entry once, one window of time after the other. The index keeps the earliest and the
--        latest time of every 128 pages: 0.35 us more for an entry, no log, 24 KiB for a million entries; a B-tree would be
--        0.47 us, 71 bytes of log and 12 bytes of disk for each. Every look reads the whole index, 80 ns a range: 10 ms at a
--        billion entries. Pages that it has no range of yet are read by every look too, so the services' role may have them
--        summarized, and nothing else of what an owner may.
--        A finding is open until an owner says otherwise: UPDATE audit_findings SET resolved_at = now() WHERE number = ...;
--        The audit begins at the instant of this migration: what was posted before is for `loadtest verify`.
-- Locks: writing entries waits while the index is built: one reading of the table, about 0.1 s per million entries.
--        Traffic waits behind it for its lock 5 s at most: then the migration fails, changes nothing, and is run again.
-- Undo:  DROP TABLE audit_findings; DROP FUNCTION summarize_entries; DROP INDEX entries_posted_at;
--        DELETE FROM watermarks WHERE name = 'audit';
SET LOCAL lock_timeout = '5s';

CREATE INDEX entries_posted_at ON entries USING brin (posted_at) WITH (pages_per_range = 128, autosummarize = on);

CREATE FUNCTION summarize_entries() RETURNS integer LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
-- By name at each call: REINDEX CONCURRENTLY makes another index of the same name.
AS $$ SELECT brin_summarize_new_values('entries_posted_at'::regclass) $$;

REVOKE ALL ON FUNCTION summarize_entries FROM PUBLIC;
GRANT EXECUTE ON FUNCTION summarize_entries TO kilat_app;

CREATE TABLE audit_findings (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    rule        text NOT NULL,
    tenant      text COLLATE "C" NOT NULL,
    -- An operation or an entry.
    subject     text COLLATE "C" NOT NULL,
    currency    text NOT NULL,
    -- What does not sum to zero; 0 where the rule is about something else.
    minor       bigint NOT NULL,
    detail      text NOT NULL,
    resolved_at timestamptz
);

CREATE INDEX audit_findings_open ON audit_findings (currency) INCLUDE (minor) WHERE resolved_at IS NULL;

INSERT INTO watermarks (name, at) VALUES ('audit', clock_timestamp());

GRANT SELECT, INSERT ON audit_findings TO kilat_app;
