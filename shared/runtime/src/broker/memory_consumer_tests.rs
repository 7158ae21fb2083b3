use super::*;

impl Consumer {
    /// What it keeps agrees with itself, and with what the stream holds.
    pub(in crate::broker) fn assert_consistent(&self, messages: &Messages) {
        assert_eq!(self.pending, messages.range(self.marks.next..).count() as u64, "pending");
        let queued = self.open.values().filter(|open| open.place.is_some()).count();
        assert_eq!(self.due.len() + queued, self.open.len(), "each comes again once");
        for (seq, open) in &self.open {
            assert!(*seq < self.marks.next && messages.contains_key(seq), "{seq} is open");
            match open.place {
                Some(place) => assert_eq!(self.again.get(&place), Some(seq)),
                None => assert!(self.due.contains(&(open.due, *seq)), "{seq} is due"),
            }
        }
        let lowest = self.open.keys().next().copied().unwrap_or(self.marks.next);
        let (floor, told) = (self.marks.floor.seq, self.marks.told.seq);
        assert!(floor < lowest && told < lowest, "floors {floor} and {told}, and {lowest} is open");
    }
}
