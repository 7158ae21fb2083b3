-- What:  payments with the state of their hold, the dead letters, and the janitor's watermark.
-- Why:   a row is a decision: RESERVED (money held), CAPTURED (posted) or FAILED, and it never goes back. What the row
--        was decided on is written once; the services may change only the two columns that capture changes. No index
--        holds a changing column, so capture rewrites the row in place; recorded_at serves the janitor's scan for old
--        open holds and the time ranges of lists.
-- Locks: none that traffic meets (new tables).
-- Undo:  DROP TABLE payments, dead_letters, watermarks.
CREATE TABLE payments (
    tenant              text COLLATE "C" NOT NULL,
    id                  text COLLATE "C" NOT NULL,
    status              text NOT NULL CHECK (status IN ('RESERVED', 'CAPTURED', 'FAILED')),
    source_account      text COLLATE "C" NOT NULL,
    destination_account text COLLATE "C" NOT NULL,
    currency            text NOT NULL,
    amount              bigint NOT NULL CHECK (amount > 0),
    -- As the sender asked; null: the destination account's.
    requested_currency  text,
    description         text,
    metadata            text,
    fingerprint         bytea NOT NULL,
    accepted_seq        bigint NOT NULL,
    accepted_at         timestamptz NOT NULL,
    -- What risk found.
    risk_score          smallint,
    screened_at         timestamptz,
    -- What arrives, and how it was worked out: gross = floor(amount * numerator / denominator), and
    -- amount * numerator * (10000 - spread_bps) = destination_amount * denominator * 10000 + residue.
    destination_currency text,
    destination_amount  bigint CHECK (destination_amount > 0),
    rate_numerator      bigint CHECK (rate_numerator > 0),
    rate_denominator    bigint CHECK (rate_denominator > 0),
    spread_bps          integer,
    gross_amount        bigint,
    residue             bigint,
    rate_as_of          timestamptz,
    quoted_at           timestamptz,
    reserved_at         timestamptz,
    -- Who refused it and why.
    refused_by          text,
    reason              text,
    rules               text[] NOT NULL DEFAULT '{}',
    refused_at          timestamptz,
    finished_at         timestamptz,
    recorded_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, id),
    CONSTRAINT accounts_differ CHECK (source_account <> destination_account),
    CONSTRAINT failed_has_a_reason CHECK ((status = 'FAILED') = (reason IS NOT NULL AND refused_by IS NOT NULL AND refused_at IS NOT NULL)),
    CONSTRAINT held_was_quoted CHECK (status = 'FAILED' OR (reserved_at IS NOT NULL AND destination_amount IS NOT NULL)),
    CONSTRAINT ended_has_a_time CHECK ((status = 'RESERVED') = (finished_at IS NULL))
) WITH (fillfactor = 60);

CREATE INDEX payments_recorded_at ON payments (recorded_at);

-- What a stage could not judge alone. Open while resolved_at is null; the payment itself is untouched.
CREATE TABLE dead_letters (
    tenant      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    stage       text NOT NULL,
    stream      text NOT NULL,
    seq         bigint NOT NULL,
    reason      text NOT NULL,
    -- The message as it was delivered: once the intake is purged, all that is left of a payment without a row.
    payload     bytea NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    PRIMARY KEY (tenant, id, stage, stream, seq)
);

CREATE INDEX dead_letters_open ON dead_letters (tenant, id) WHERE resolved_at IS NULL;

-- How far a periodic scan has come.
CREATE TABLE watermarks (
    name text PRIMARY KEY,
    at   timestamptz NOT NULL
);

GRANT SELECT, INSERT ON payments, dead_letters TO kilat_app;
GRANT UPDATE (status, finished_at) ON payments TO kilat_app;
GRANT UPDATE (resolved_at) ON dead_letters TO kilat_app;
GRANT SELECT, INSERT, UPDATE ON watermarks TO kilat_app;
