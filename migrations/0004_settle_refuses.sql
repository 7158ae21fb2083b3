-- What:  the services may write who refused a payment, why and when.
-- Why:   settle refuses a payment whose destination cannot take the money: its RESERVED row becomes FAILED, with its reason
--        (the check failed_has_a_reason asks for all three). No other row can be given one: settle changes RESERVED rows only.
-- Locks: none that traffic meets (a grant).
-- Undo:  REVOKE UPDATE (refused_by, reason, refused_at) ON payments FROM kilat_app; not while a release runs whose settle
--        refuses.
GRANT UPDATE (refused_by, reason, refused_at) ON payments TO kilat_app;
