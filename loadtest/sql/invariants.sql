-- The ledger's invariants, asked from outside by `loadtest verify`. Each section is one SELECT that returns the rows that
-- break its sentence; `name` sections must return none, a `note` section is only told. One statement sees one snapshot, so
-- they hold under traffic too. The test of verify proves that each fires on a corruption made on purpose.

-- name: operations_sum_to_zero -- The entries of one operation sum to zero in each currency.
SELECT tenant, operation_kind, operation_id, currency, sum(amount) AS excess
FROM entries
GROUP BY tenant, operation_kind, operation_id, currency
HAVING sum(amount) <> 0;

-- name: currencies_sum_to_zero -- All entries of a currency sum to zero: no money appears and none is lost.
SELECT tenant, currency, sum(amount) AS excess
FROM entries
GROUP BY tenant, currency
HAVING sum(amount) <> 0;

-- name: operations_have_two_sides -- Every operation has at least two entries.
SELECT tenant, operation_kind, operation_id, count(*) AS entries
FROM entries
GROUP BY tenant, operation_kind, operation_id
HAVING count(*) < 2;

-- name: entries_belong_to_an_operation -- Every entry is of a payment or deposit that is there.
SELECT e.tenant, e.operation_kind, e.operation_id, e.account_id, e.number
FROM entries e
LEFT JOIN payments p ON e.operation_kind = 'payment' AND p.tenant = e.tenant AND p.id = e.operation_id
LEFT JOIN operations o ON o.tenant = e.tenant AND o.kind = e.operation_kind AND o.id = e.operation_id
WHERE p.id IS NULL AND o.id IS NULL;

-- name: entries_carry_their_accounts_currency -- Every entry is of an account that is there, in its one currency.
SELECT e.tenant, e.account_id, e.number, e.currency, a.currency AS account_currency
FROM entries e
LEFT JOIN accounts a ON a.tenant = e.tenant AND a.id = e.account_id
WHERE a.currency IS DISTINCT FROM e.currency;

-- name: balances_are_sums -- An account's balance is the sum of its entries.
SELECT a.tenant, a.id, a.balance, coalesce(s.total, 0) AS entries_total
FROM accounts a
LEFT JOIN (SELECT tenant, account_id, sum(amount) AS total FROM entries GROUP BY tenant, account_id) s
    ON s.tenant = a.tenant AND s.account_id = a.id
WHERE a.balance <> coalesce(s.total, 0);

-- name: entries_are_numbered_without_gap -- An account's entries are numbered from 1 to its entry_count.
SELECT a.tenant, a.id, a.entry_count, coalesce(s.entries, 0) AS entries, s.first, s.last
FROM accounts a
LEFT JOIN (
    SELECT tenant, account_id, count(*) AS entries, min(number) AS first, max(number) AS last
    FROM entries GROUP BY tenant, account_id) s
    ON s.tenant = a.tenant AND s.account_id = a.id
WHERE a.entry_count <> coalesce(s.entries, 0) OR s.first <> 1 OR s.last <> s.entries;

-- name: running_balances_are_exact -- Each entry's balance_after is the sum of the account's entries up to it.
SELECT tenant, account_id, number, balance_after, running
FROM (
    SELECT tenant, account_id, number, balance_after,
        sum(amount) OVER (PARTITION BY tenant, account_id ORDER BY number ROWS UNBOUNDED PRECEDING) AS running
    FROM entries) e
WHERE balance_after <> running;

-- name: customers_were_never_overdrawn -- No customer's balance was below zero after any entry.
SELECT tenant, account_id, number, balance_after
FROM entries
WHERE balance_after < 0 AND position(':' IN account_id) = 0;

-- name: customers_cover_their_holds -- No customer's holds exceed the balance.
SELECT tenant, id, balance, held
FROM accounts
WHERE kind = 'customer' AND balance < held;

-- name: held_is_the_sum_of_reserved_payments -- What an account holds back is the sum of its RESERVED payments, no more, no less.
SELECT coalesce(a.tenant, h.tenant) AS tenant, coalesce(a.id, h.source_account) AS id, a.held, coalesce(h.total, 0) AS reserved
FROM accounts a
FULL JOIN (
    SELECT tenant, source_account, sum(amount) AS total FROM payments WHERE status = 'RESERVED' GROUP BY tenant, source_account) h
    ON h.tenant = a.tenant AND h.source_account = a.id
WHERE a.held IS DISTINCT FROM coalesce(h.total, 0);

-- name: captured_means_one_debit -- A payment is CAPTURED exactly when its amount has left its source once.
SELECT coalesce(p.tenant, d.tenant) AS tenant, coalesce(p.id, d.operation_id) AS id, p.status, p.amount, d.debits, d.total
FROM payments p
FULL JOIN (
    SELECT tenant, operation_id, count(*) AS debits, sum(amount) AS total, min(account_id) AS account_id, min(currency) AS currency
    FROM entries
    WHERE operation_kind = 'payment' AND amount < 0 AND position(':' IN account_id) = 0
    GROUP BY tenant, operation_id) d
    ON d.tenant = p.tenant AND d.operation_id = p.id
WHERE (p.status = 'CAPTURED') IS DISTINCT FROM (d.debits IS NOT NULL)
    OR (p.status = 'CAPTURED'
        AND (d.debits <> 1 OR d.total <> -p.amount OR d.account_id <> p.source_account OR d.currency <> p.currency));

-- name: captured_means_one_credit -- A payment is CAPTURED exactly when its destination amount has arrived once.
SELECT coalesce(p.tenant, c.tenant) AS tenant, coalesce(p.id, c.operation_id) AS id, p.status, p.destination_amount, c.credits, c.total
FROM payments p
FULL JOIN (
    SELECT tenant, operation_id, count(*) AS credits, sum(amount) AS total, min(account_id) AS account_id, min(currency) AS currency
    FROM entries
    WHERE operation_kind = 'payment' AND amount > 0 AND position(':' IN account_id) = 0
    GROUP BY tenant, operation_id) c
    ON c.tenant = p.tenant AND c.operation_id = p.id
WHERE (p.status = 'CAPTURED') IS DISTINCT FROM (c.credits IS NOT NULL)
    OR (p.status = 'CAPTURED'
        AND (c.credits <> 1 OR c.total <> p.destination_amount OR c.account_id <> p.destination_account
            OR c.currency <> p.destination_currency));

-- name: unsettled_payments_have_no_entries -- A RESERVED or FAILED payment has moved nothing, on no account.
SELECT p.tenant, p.id, p.status, count(*) AS entries
FROM payments p
JOIN entries e ON e.operation_kind = 'payment' AND e.tenant = p.tenant AND e.operation_id = p.id
WHERE p.status <> 'CAPTURED'
GROUP BY p.tenant, p.id;

-- name: conversions_pass_through_fx_and_fee -- A captured conversion posts its amount and gross to fx and the spread to fee; a payment within one currency touches no system account.
SELECT p.tenant, p.id, p.amount, p.gross_amount, p.destination_amount, count(e.number) AS system_entries, sum(e.amount) AS system_total
FROM payments p
LEFT JOIN entries e
    ON e.operation_kind = 'payment' AND e.tenant = p.tenant AND e.operation_id = p.id AND position(':' IN e.account_id) > 0
WHERE p.status = 'CAPTURED'
GROUP BY p.tenant, p.id
HAVING count(e.number) <> CASE WHEN p.rate_numerator IS NULL THEN 0 WHEN p.gross_amount > p.destination_amount THEN 3 ELSE 2 END
    OR coalesce(sum(e.amount) FILTER (WHERE split_part(e.account_id, ':', 1) = 'fx' AND e.currency = p.currency), 0)
        <> CASE WHEN p.rate_numerator IS NULL THEN 0 ELSE p.amount END
    OR coalesce(sum(e.amount) FILTER (WHERE split_part(e.account_id, ':', 1) = 'fx' AND e.currency = p.destination_currency), 0)
        <> coalesce(-p.gross_amount, 0)
    OR coalesce(sum(e.amount) FILTER (WHERE split_part(e.account_id, ':', 1) = 'fee' AND e.currency = p.destination_currency), 0)
        <> coalesce(p.gross_amount - p.destination_amount, 0);

-- name: destination_amounts_recompute -- What arrived and the residue that rounding cut off are exactly the amount times rate and share.
SELECT tenant, id, amount, rate_numerator, rate_denominator, spread_bps, destination_amount, residue
FROM payments
WHERE rate_numerator IS NOT NULL
    AND (amount::numeric * rate_numerator * (10000 - spread_bps) <> destination_amount::numeric * rate_denominator * 10000 + residue
        OR residue < 0
        OR residue >= rate_denominator::numeric * 10000);

-- name: gross_amounts_recompute -- The gross amount is the amount at the mid-market rate, rounded down, and covers what arrived.
SELECT tenant, id, amount, rate_numerator, rate_denominator, gross_amount, destination_amount
FROM payments
WHERE rate_numerator IS NOT NULL
    AND (gross_amount <> div(amount::numeric * rate_numerator, rate_denominator) OR gross_amount < destination_amount);

-- name: conversions_exactly_between_currencies -- A payment has a rate when its currencies differ, all of it; else none, and its amount arrives whole.
SELECT tenant, id, currency, destination_currency, amount, destination_amount, rate_numerator
FROM payments
WHERE num_nonnulls(rate_numerator, rate_denominator, spread_bps, gross_amount, residue, rate_as_of)
        <> CASE WHEN currency <> destination_currency THEN 6 ELSE 0 END
    OR num_nonnulls(destination_currency, destination_amount, quoted_at) NOT IN (0, 3)
    OR (currency = destination_currency AND amount <> destination_amount);

-- name: payments_match_their_accounts -- A payment that held or moved money did so between customers' accounts of its currencies.
SELECT p.tenant, p.id, p.status, p.currency, s.currency AS source_currency, p.destination_currency, p.requested_currency,
    d.currency AS account_currency
FROM payments p
LEFT JOIN accounts s ON s.tenant = p.tenant AND s.id = p.source_account AND s.kind = 'customer'
LEFT JOIN accounts d ON d.tenant = p.tenant AND d.id = p.destination_account AND d.kind = 'customer'
WHERE (p.status <> 'FAILED' OR p.reserved_at IS NOT NULL)
    AND (s.currency IS DISTINCT FROM p.currency
        OR d.currency IS DISTINCT FROM p.destination_currency
        OR p.requested_currency <> p.destination_currency);

-- name: deposits_have_their_two_entries -- A deposit is one entry on its account and one on a row of the outside world's, and no more.
SELECT o.tenant, o.id, o.account_id, o.amount, count(e.number) AS entries
FROM operations o
LEFT JOIN entries e ON e.tenant = o.tenant AND e.operation_kind = o.kind AND e.operation_id = o.id
WHERE o.kind = 'deposit'
GROUP BY o.tenant, o.kind, o.id
HAVING count(e.number) <> 2
    OR NOT bool_or(e.account_id = o.account_id AND e.currency = o.currency AND e.amount = o.amount AND e.balance_after = o.balance_after)
    OR NOT bool_or(e.account_id ~ ('^external:' || o.currency || '(:[0-9]+([.][0-9]+)?)?$') AND e.currency = o.currency AND e.amount = -o.amount);

-- name: services_can_only_append -- The services' role may not change or remove what the ledger has written.
SELECT t.name AS table_name, r.privilege
FROM (VALUES ('entries'), ('operations'), ('accounts'), ('payments'), ('dead_letters'), ('audit_findings')) AS t(name)
CROSS JOIN (VALUES ('DELETE'), ('TRUNCATE')) AS r(privilege)
WHERE has_table_privilege('kilat_app', t.name, r.privilege)
UNION ALL
SELECT c.attrelid::regclass::text || '.' || c.attname, 'UPDATE'
FROM pg_attribute c
WHERE c.attrelid IN ('entries'::regclass, 'operations'::regclass, 'accounts'::regclass, 'payments'::regclass, 'dead_letters'::regclass,
        'audit_findings'::regclass)
    AND c.attnum > 0
    AND NOT c.attisdropped
    AND (c.attrelid::regclass::text, c.attname::text) NOT IN (
        ('accounts', 'balance'), ('accounts', 'held'), ('accounts', 'entry_count'), ('accounts', 'status'),
        ('payments', 'status'), ('payments', 'finished_at'), ('payments', 'refused_by'), ('payments', 'reason'), ('payments', 'refused_at'),
        ('dead_letters', 'resolved_at'))
    AND has_column_privilege('kilat_app', c.attrelid, c.attnum, 'UPDATE');

-- name: append_only_triggers_stand -- The triggers that stop even the owner are in place.
SELECT t.name AS table_name
FROM (VALUES ('entries'), ('operations')) AS t(name)
WHERE NOT EXISTS (
    SELECT FROM pg_trigger g
    WHERE g.tgrelid = t.name::regclass AND g.tgname = t.name || '_are_append_only' AND g.tgenabled IN ('O', 'A'));

-- name: holds_end -- No payment stays RESERVED for ten minutes, unless it is buried.
SELECT p.tenant, p.id, p.reserved_at, clock_timestamp() - p.reserved_at AS age
FROM payments p
WHERE p.status = 'RESERVED'
    AND p.reserved_at < clock_timestamp() - interval '10 minutes'
    AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.tenant = p.tenant AND d.id = p.id AND d.resolved_at IS NULL);

-- note: open_dead_letters -- Payments that a stage could not judge, waiting for someone.
SELECT tenant, id, stage, reason, at
FROM dead_letters
WHERE resolved_at IS NULL;
