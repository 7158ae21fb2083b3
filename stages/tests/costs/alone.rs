//! Payments one after the other, each alone in its batches: the dearest that a payment can be.

use crate::scale::{Cost, Scale, check};
use crate::submitting::{open_accounts, payments, submit};
use serde_json::Value;
use wire::{Role, StageName};

/// Payments of each row.
const PAYMENTS: u64 = 16;

/// Pulls that end meanwhile are asked for again: each lasts ten seconds.
const PULLS_MAX: u64 = 40;

/// A segment of the log that is full, what was written before, and the rows of our own accounts, which are
/// made beside every transaction.
const SYNCS_BESIDE_MAX: u64 = 4;

const ROLES: [Role; 5] = [Role::Risk, Role::Fx, Role::Reserve, Role::Settle, Role::Gateway];

/// What one payment may cost.
struct Row {
    about: &'static str,
    change: fn(&mut Value),
    /// The stage that ends it.
    ends: StageName,
    /// Messages on their way in, and on their way out: the answers to publishes, and the deliveries.
    published: u64,
    delivered: u64,
    statements: u64,
    commits: u64,
}

impl Row {
    fn payments(&self, count: usize) -> Vec<Value> {
        let mut payments = payments(self.about, count);
        payments.iter_mut().for_each(self.change);
        payments
    }
}

#[rustfmt::skip]
const ROWS: [Row; 2] = [
    Row {
        about: "captured",
        // It converts.
        change: |payment| payment["destination_account"] = "D0".into(),
        ends: StageName::Settle,
        // Accepted, screened, quoted, reserved, finished; each but the last is delivered.
        published: 5, delivered: 4,
        // One look-up, five of reserve, five of settle; the currency of the destination is known.
        statements: 11, commits: 2,
    },
    Row {
        about: "refused",
        change: |payment| payment["destination_account"] = "nobody".into(),
        ends: StageName::SettleRejected,
        // Accepted, screened, rejected, finished.
        published: 4, delivered: 3,
        // One look-up, the currency of a destination that is not there, five of settle_rejected.
        statements: 7, commits: 1,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_alone_costs_what_the_design_says() {
    let scale = Scale::set_up(&[]).await;
    let opening = scale.start(&[Role::Wallet, Role::Gateway]).await;
    open_accounts(&scale.system).await;
    scale.stop(opening).await;
    let cost = scale
        .weigh(&ROLES, async |scale| {
            for row in &ROWS {
                check_row(row, &carry(scale, row).await);
            }
            let again = submit_again(scale).await;
            println!("submitted again:\n{}", again.shown());
            check(
                "submitted again",
                &[
                    ("messages published", again.messages("published"), 0..=0),
                    ("statements", again.statements(), 1..=2 * PAYMENTS),
                    ("commits", again.commits(), 0..=0),
                ],
            );
        })
        .await;
    println!("all of it: {} commits, the log on disk {} times", cost.commits(), cost.wal_syncs);
    check("all of it", &[("fsyncs of Postgres", cost.wal_syncs, 1..=cost.commits() + SYNCS_BESIDE_MAX)]);
}

/// What the payments of a row cost, after one that has every plan made and the destination's currency read.
async fn carry(scale: &Scale, row: &Row) -> Cost {
    let payments = row.payments(PAYMENTS as usize + 1);
    let mut before = scale.reading().await;
    for (place, payment) in payments.iter().enumerate() {
        submit(&scale.system, std::slice::from_ref(payment), 1).await;
        scale.done(row.ends, place as u64 + 1).await;
        if place == 0 {
            before = scale.reading().await;
        }
    }
    scale.reading().await.since(&before)
}

fn check_row(row: &Row, cost: &Cost) {
    println!("{PAYMENTS} payments {} one after the other:\n{}", row.about, cost.shown());
    let each = |count: u64| count * PAYMENTS..=count * PAYMENTS;
    check(
        row.about,
        &[
            ("messages published", cost.messages("published"), each(row.published)),
            ("answers to publishes", cost.messages("stored"), each(row.published)),
            ("deliveries", cost.messages("delivered"), each(row.delivered)),
            ("answers to deliveries", cost.messages("answered"), each(row.delivered)),
            ("pulls", cost.messages("pulled"), 0..=PULLS_MAX),
            ("of the JetStream API", cost.messages("asked"), 0..=0),
            ("said otherwise", cost.messages("said otherwise"), 0..=0),
            ("statements", cost.statements(), 1..=row.statements * PAYMENTS),
            ("commits", cost.commits(), each(row.commits)),
        ],
    );
}

/// The first row's payments once more.
async fn submit_again(scale: &Scale) -> Cost {
    let before = scale.reading().await;
    submit(&scale.system, &ROWS[0].payments(PAYMENTS as usize), 1).await;
    scale.reading().await.since(&before)
}
