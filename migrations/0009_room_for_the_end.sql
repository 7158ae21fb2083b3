-- What:  payments fill their pages to 45 % when they are inserted, not to 60 %.
-- Why:   nearly every row is changed once, when its payment ends, and mostly together with all others of its page, so that
--        room is needed for a second version of each before the first may go. At 60 % one row in four had to move to another
--        page, which writes both indexes again and makes them a quarter larger. The table stays as large, 560 bytes a
--        payment with both versions: what pages keep free is what moved rows took.
-- Locks: none that traffic meets (SHARE UPDATE EXCLUSIVE for a moment). Pages that are there stay as they are.
-- Undo:  ALTER TABLE payments SET (fillfactor = 60);
ALTER TABLE payments SET (fillfactor = 45);
