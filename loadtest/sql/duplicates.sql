-- Payments with more than one settlement: a settlement takes money from a customer's account exactly once.
SELECT tenant, operation_id AS id, count(*) AS settlements
FROM entries
WHERE operation_kind = 'payment' AND amount < 0 AND position(':' IN account_id) = 0
GROUP BY tenant, operation_id
HAVING count(*) > 1
