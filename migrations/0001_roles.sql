-- What:  the role that the services run as.
-- Why:   the owner of the tables may change anything; the services may only do what the ledger's rules allow. Its
--        privileges are granted table by table where the tables are made.
-- Locks: none that traffic meets.
-- Undo:  DROP ROLE kilat_app, after revoking what later files grant.
DO $$
BEGIN
    CREATE ROLE kilat_app LOGIN;
EXCEPTION
    -- Roles belong to the server, not the database: another database's migration may have made it, even just now.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
