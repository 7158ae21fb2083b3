-- What:  the primary keys of payments, accounts and entries compare the id before the tenant.
-- Why:   a search in such an index compares texts, some eight at each of its levels. Nearly all rows are of few tenants, so
--        the first comparison, of tenants, said nothing, and the second decided. Now the first decides. What is unique stays
--        so; an account's entries still lie together, in their order, apart from those of other tenants' accounts with its
--        name. What goes by tenant alone (lists, later) needs an index of its own: by time, for its newest come first.
-- Locks: ACCESS EXCLUSIVE on the three tables while their indexes are built, about 1 s per million payments with their
--        entries. Traffic waits behind it for its lock 5 s at most: then the migration fails, changes nothing, and is run
--        again. Batches that wait longer than statement_timeout for the build are retried, as in any outage.
-- Undo:  the same with (tenant, id) and (tenant, account_id, number).
SET LOCAL lock_timeout = '5s';

ALTER TABLE payments DROP CONSTRAINT payments_pkey, ADD CONSTRAINT payments_pkey PRIMARY KEY (id, tenant);
ALTER TABLE accounts DROP CONSTRAINT accounts_pkey, ADD CONSTRAINT accounts_pkey PRIMARY KEY (id, tenant);
ALTER TABLE entries DROP CONSTRAINT entries_pkey, ADD CONSTRAINT entries_pkey PRIMARY KEY (account_id, tenant, number);
