//! What waits for a lane, and how batches are made of it: of everything that is there, never waited for.

use super::Submission;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// What came together: it is stored together, as far as a batch takes so many.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are of one, which needs no allocation of its own")]
pub(super) enum Group {
    One(Submission),
    Many(Vec<Submission>),
}

impl IntoIterator for Group {
    type Item = Submission;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Submission>, std::vec::IntoIter<Submission>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Group::One(submission) => (Some(submission), Vec::new()),
            Group::Many(submissions) => (None, submissions),
        };
        one.into_iter().chain(many)
    }
}

/// The submissions of a lane in the order in which they came. Each has a place among those in flight, which
/// bounds them.
pub(super) struct Queue {
    groups: mpsc::Receiver<Group>,
    /// What was taken and is in no batch yet.
    waiting: VecDeque<Submission>,
    taken: Vec<Group>,
}

impl Queue {
    pub(super) fn of(groups: mpsc::Receiver<Group>) -> Queue {
        Queue { groups, waiting: VecDeque::new(), taken: Vec::new() }
    }

    /// The next batch of at most so many, as soon as there is anything; nothing when no more will come.
    pub(super) async fn next(&mut self, max: usize) -> Option<Vec<Submission>> {
        if self.waiting.is_empty() && self.groups.recv_many(&mut self.taken, max).await == 0 {
            return None;
        }
        self.waiting.extend(self.taken.drain(..).flatten());
        while self.waiting.len() < max
            && let Ok(group) = self.groups.try_recv()
        {
            self.waiting.extend(group);
        }
        let count = self.waiting.len().min(max);
        Some(self.waiting.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::tests::submission;

    /// The sizes of the batches that groups of these sizes become.
    async fn batches(sizes: &[usize], max: usize) -> Vec<usize> {
        let (sender, groups) = mpsc::channel(sizes.len());
        let mut count = 0;
        let mut next = || {
            count += 1;
            submission(&format!("P{count}"))
        };
        for size in sizes {
            let group = match size {
                1 => Group::One(next()),
                size => Group::Many((0..*size).map(|_| next()).collect()),
            };
            sender.try_send(group).unwrap();
        }
        drop(sender);
        let (mut queue, mut sizes, mut place) = (Queue::of(groups), Vec::new(), 0);
        while let Some(batch) = queue.next(max).await {
            for submission in &batch {
                place += 1;
                assert_eq!(submission.payment.id.as_str(), format!("P{place}"), "in order");
            }
            sizes.push(batch.len());
        }
        assert_eq!(place, count);
        sizes
    }

    #[tokio::test]
    async fn a_batch_is_everything_that_is_there() {
        for (groups, max, expected) in [
            (vec![1, 1, 1], 512, vec![3]),
            (vec![500, 1, 11], 512, vec![512]),
            (vec![500, 500, 1], 512, vec![512, 489]),
            (vec![1; 600], 512, vec![512, 88]),
            (vec![500], 8, [vec![8; 62], vec![4]].concat()),
            (vec![0, 2], 512, vec![2]),
        ] {
            assert_eq!(batches(&groups, max).await, expected, "{groups:?} by {max}");
        }
    }
}
