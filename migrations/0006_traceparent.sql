-- What:  the trace that a payment belongs to, as its row's writer names it (W3C traceparent, 55 characters).
-- Why:   a payment whose message was lost is emitted again from its row, and goes on in its trace; GET /payments/{id} shows
--        the trace. Null unless the payment is traced, which is one in a hundred by default: a null costs nothing but its bit.
-- Locks: ACCESS EXCLUSIVE on payments for a moment (a nullable column without default rewrites nothing). Traffic
--        waits behind it for its lock 5 s at most: then the migration fails, changes nothing, and is run again.
-- Undo:  ALTER TABLE payments DROP COLUMN traceparent; not while a release runs that writes it.
SET LOCAL lock_timeout = '5s';

ALTER TABLE payments ADD COLUMN traceparent text;
