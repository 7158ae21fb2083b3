-- What:  the holds that were still open a minute and a half after their rows were written.
-- Why:   the janitor reads each row of payments once when it is old enough and never again; what it must not forget is
--        written here before the watermark moves past it. Small: a line per hold that is late, deleted when the hold ends.
-- Locks: none that traffic meets (new table).
-- Undo:  first let an older build's scan begin at the oldest open hold again, then drop the table:
--        UPDATE watermarks SET at = LEAST(at, (SELECT min(p.recorded_at) FROM open_holds h JOIN payments p USING (tenant, id)))
--        WHERE name = 'open_holds';
--        DROP TABLE open_holds;
CREATE TABLE open_holds (
    tenant  text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    held_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

GRANT SELECT, INSERT, DELETE ON open_holds TO kilat_app;
