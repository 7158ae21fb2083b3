-- What:  accounts with their running balance, and the entries that made it.
-- Why:   one row is one lock: a batch locks the accounts it touches in id order and every balance change goes through
--        such a row. entry_count numbers the entries of an account, so a statement is one range read of the primary key
--        and no second index is written. Ids compare as bytes (COLLATE "C"), the order that the services sort in.
--        fillfactor leaves room for balance changes on the same page without touching the index.
-- Locks: none that traffic meets (new tables).
-- Undo:  DROP TABLE entries, operations, accounts; DROP FUNCTION refuse_change.
CREATE TABLE accounts (
    tenant      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('customer', 'system')),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    status      text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'FROZEN')),
    balance     bigint NOT NULL DEFAULT 0,
    held        bigint NOT NULL DEFAULT 0,
    entry_count bigint NOT NULL DEFAULT 0,
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, id),
    CONSTRAINT holds_are_not_negative CHECK (held >= 0),
    CONSTRAINT customers_are_never_overdrawn CHECK (kind = 'system' OR balance >= held),
    CONSTRAINT system_accounts_have_a_colon CHECK ((kind = 'system') = (position(':' IN id) > 0))
) WITH (fillfactor = 50);

-- An operation of the ledger that is not a payment: today deposits. Unique per tenant and kind, which is its idempotency.
CREATE TABLE operations (
    tenant        text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL CHECK (kind IN ('deposit')),
    id            text COLLATE "C" NOT NULL,
    account_id    text COLLATE "C" NOT NULL,
    currency      text NOT NULL,
    amount        bigint NOT NULL CHECK (amount > 0),
    balance_after bigint NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, kind, id)
);

-- Every change of every balance. No foreign keys: they would lock and look up per row on the hot path; the audit
-- (loadtest/sql/invariants.sql) proves what they would.
CREATE TABLE entries (
    tenant         text COLLATE "C" NOT NULL,
    account_id     text COLLATE "C" NOT NULL,
    number         bigint NOT NULL,
    operation_kind text NOT NULL CHECK (operation_kind IN ('payment', 'deposit')),
    operation_id   text COLLATE "C" NOT NULL,
    currency       text NOT NULL,
    amount         bigint NOT NULL CHECK (amount <> 0),
    balance_after  bigint NOT NULL,
    posted_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant, account_id, number)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

-- For those whom privileges do not stop. Per statement, and none on INSERT, so appending pays nothing.
CREATE TRIGGER entries_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER operations_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operations FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON accounts, operations, entries TO kilat_app;
GRANT UPDATE (balance, held, entry_count, status) ON accounts TO kilat_app;
