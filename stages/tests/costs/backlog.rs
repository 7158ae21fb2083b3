//! A backlog goes through one stage after the other, each with all of it before it: what each costs, by
//! payment and by batch.

use crate::scale::{Cost, Scale, check};
use crate::submitting::{open_accounts, payments, submit};
use wire::{Hop, Role, StageName, Stream};

const PAYMENTS: u64 = 2_000;

/// Requests at once, of which a batch of acceptance is made.
const CONNECTIONS: usize = 256;

/// What each batch of acceptance has at the least, in the mean: a fraction of the requests at once, as this
/// machine may be busy with other tests.
const ACCEPTED_BATCH_MIN: u64 = 16;

/// What each batch of a stage has at the least, in the mean, with a backlog before it. Where tokio's budget
/// ends batches they have 64.
const STAGE_BATCH_MIN: u64 = 128;

/// The gateway declares what is missing when it finds it missing; a stage asks nothing of the kind.
const API_OF_GATEWAY_MAX: u64 = 60;

/// Rows of our own accounts that a process meets for the first time.
const STATEMENTS_BESIDE_MAX: u64 = 3;

/// Deliveries are asked for by halves of what may be on its way.
const PULLS_MAX: u64 = PAYMENTS / 256 + 2;

/// What an earlier process wrote and nobody waited for goes to disk when the next one commits, or by itself.
const SYNCS_BESIDE_MAX: u64 = 2;

/// A segment of the log of this test's server: when one is full it goes to disk.
const LOG_SEGMENT_BYTES: u64 = 1 << 20;

/// A stage of the way, and what it may cost.
struct Row {
    stage: StageName,
    forwards: Hop,
    /// Round trips of a batch to Postgres, whatever its size.
    statements_per_batch: u64,
    /// Transactions of a batch, each with an fsync.
    commits_per_batch: u64,
}

const ROWS: [Row; 4] = [
    Row { stage: StageName::Risk, forwards: Hop::Screened, statements_per_batch: 0, commits_per_batch: 0 },
    // The currencies of destinations that it has not met.
    Row { stage: StageName::Fx, forwards: Hop::Quoted, statements_per_batch: 1, commits_per_batch: 0 },
    // BEGIN, the accounts, the rows that are there, the write, COMMIT.
    Row { stage: StageName::Reserve, forwards: Hop::Reserved, statements_per_batch: 5, commits_per_batch: 1 },
    // BEGIN, the payments, the accounts, the write, COMMIT.
    Row { stage: StageName::Settle, forwards: Hop::Finished, statements_per_batch: 5, commits_per_batch: 1 },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_each_stage_a_message_a_payment_and_the_rest_by_the_batch() {
    let scale = Scale::set_up(&[]).await;
    let opening = scale.start(&[Role::Wallet, Role::Gateway]).await;
    open_accounts(&scale.system).await;
    scale.stop(opening).await;
    let cost = scale
        .weigh(&[Role::Gateway], async |scale| {
            submit(&scale.system, &payments("P", PAYMENTS as usize), CONNECTIONS).await;
        })
        .await;
    check_acceptance(&cost);
    for row in ROWS {
        let input = Stream::all(1).into_iter().find(|input| input.consumer() == Some(row.stage)).unwrap();
        scale.pause(input, true).await;
        let carry = async |scale: &Scale| {
            scale.pause(input, false).await;
            scale.done(row.stage, PAYMENTS).await;
        };
        let cost = scale.weigh(&[Role::playing(row.stage)], carry).await;
        check_stage(&row, &cost);
    }
    for hop in [Hop::Accepted, Hop::Screened, Hop::Quoted, Hop::Reserved, Hop::Finished] {
        assert_eq!(scale.stored(Stream::of(hop, 0)).await, PAYMENTS, "{hop}");
    }
    assert_eq!(scale.stored(Stream::of(Hop::Rejected, 0)).await, 0);
    let ended = scale.system.sql("SELECT status, count(*) FROM payments GROUP BY 1").await;
    assert_eq!(ended, format!("CAPTURED|{PAYMENTS}"));
}

fn check_acceptance(cost: &Cost) {
    println!("acceptance, {PAYMENTS} payments of {CONNECTIONS} at once:\n{}", cost.shown());
    let (commits, batches_max) = (cost.messages("stored PAY_ACCEPTED"), PAYMENTS / ACCEPTED_BATCH_MIN);
    let rows = [
        ("messages published", cost.messages("published"), PAYMENTS..=PAYMENTS),
        ("commits of the intake, each an fsync or a few", commits, 1..=batches_max),
        ("statements, one a batch", cost.statements(), 1..=commits),
        ("fsyncs of Postgres", cost.wal_syncs, 0..=SYNCS_BESIDE_MAX),
        ("of the JetStream API", cost.messages("asked"), 0..=API_OF_GATEWAY_MAX),
        ("deliveries", cost.messages("delivered"), 0..=0),
        ("answers to deliveries", cost.messages("answered"), 0..=0),
    ];
    check("acceptance", &rows);
}

fn check_stage(row: &Row, cost: &Cost) {
    let Row { stage, forwards, statements_per_batch, commits_per_batch, .. } = row;
    let batches = cost.batches(*stage);
    println!("{stage}, {PAYMENTS} payments in {} batches:\n{}", batches.count, cost.shown());
    let (count, commits) = (batches.count, batches.count * commits_per_batch);
    let forwarded = cost.messages(&format!("published {forwards}"));
    let stored = cost.messages(&format!("stored {}", Stream::of(*forwards, 0)));
    let acknowledged = cost.messages(&format!("answered {stage} +ACK"));
    println!(
        "    {:<36}{:>8}\n    {:<36}{:>8}\n",
        "log on disk", cost.wal_syncs, "bytes of log", cost.wal_bytes
    );
    let segments = cost.wal_bytes.div_ceil(LOG_SEGMENT_BYTES);
    let rows = [
        ("payments in its batches", batches.sum, PAYMENTS..=PAYMENTS),
        ("batches", count, PAYMENTS.div_ceil(512)..=PAYMENTS / STAGE_BATCH_MIN),
        ("messages that it forwards", forwarded, PAYMENTS..=PAYMENTS),
        ("messages that it publishes beside", cost.messages("published") - forwarded, 0..=0),
        ("answers to its publishes", stored, PAYMENTS..=PAYMENTS),
        ("deliveries", cost.messages(&format!("delivered {stage}")), PAYMENTS..=PAYMENTS),
        ("acknowledgements", acknowledged, 1..=PAYMENTS),
        ("other answers to deliveries", cost.messages("answered") - acknowledged, 0..=0),
        ("pulls", cost.messages(&format!("pulled {stage}")), 0..=PULLS_MAX),
        ("of the JetStream API", cost.messages("asked"), 0..=0),
        ("statements", cost.statements(), 0..=count * statements_per_batch + STATEMENTS_BESIDE_MAX),
        ("transactions", cost.commits(), commits..=commits),
        ("fsyncs of Postgres", cost.wal_syncs, 0..=commits + segments + SYNCS_BESIDE_MAX),
    ];
    check(stage.as_str(), &rows);
}
