use super::*;

fn read(lines: &str) -> Counts {
    let mut counts = Counts::default();
    samples(lines).for_each(|sample| counts.add(&sample));
    counts
}

#[test]
fn what_roles_show_is_counted_and_told_by_payment() {
    let then = read(concat!(
        "stage_batch_size_bucket{stage=\"risk\",le=\"1\"} 9\n",
        "stage_batch_size_sum{stage=\"risk\"} 100\n",
        "stage_batch_size_count{stage=\"risk\"} 10\n",
        "publish_batch_size_sum{hop=\"accepted\",form=\"single\"} 5\n",
        "publish_batch_size_count{hop=\"accepted\",form=\"single\"} 2\n",
    ));
    let now = read(concat!(
        "# HELP stage_batch_size Messages\n",
        "stage_batch_size_sum{stage=\"risk\"} 1100\n",
        "stage_batch_size_count{stage=\"risk\"} 14\n",
        "stage_batch_size_sum{stage=\"fx\"} 60\n",
        "stage_batch_size_count{stage=\"fx\"} 8\n",
        "stage_batch_size_sum{stage=\"settle_rejected\"} 0\n",
        "stage_batch_size_count{stage=\"settle_rejected\"} 0\n",
        "publish_batch_size_sum{hop=\"accepted\",form=\"single\"} 15\n",
        "publish_batch_size_count{hop=\"accepted\",form=\"single\"} 3\n",
        "publish_batch_size_sum{hop=\"accepted\",form=\"atomic\"} 900\n",
        "publish_batch_size_count{hop=\"accepted\",form=\"atomic\"} 30\n",
        "publish_batch_size_sum{hop=\"screened\",form=\"atomic\"} 900\n",
        "stage_redeliveries_total{stage=\"risk\"} 3\n",
        "stage_redeliveries_total{stage=\"fx\"} 4\n",
        "payments_redriven_total 2\n",
    ));
    let servers = |messages, wal_bytes, disk_flushes, counts| Counts {
        messages,
        message_bytes: messages * 100,
        wal_bytes,
        disk_flushes,
        ..counts
    };
    let counted =
        servers(5_000, 900, Some(70), now.clone()).since(&servers(1_000, 100, Some(50), then.clone()), 100.0);
    let expected = Counted {
        messages_per_payment: 40.0,
        message_bytes_per_payment: 4_000.0,
        wal_bytes_per_payment: 8.0,
        intake_stores_per_payment: 0.4,
        disk_flushes_per_payment: Some(0.2),
        mean_batch: [("risk".to_owned(), 250.0), ("fx".to_owned(), 7.5)].into(),
        redeliveries: 7,
        redriven: 2,
    };
    assert_eq!(counted, expected);
    assert_eq!(now.since(&then, 100.0).disk_flushes_per_payment, None, "a system that counts no flushes");
}

#[test]
fn the_intake_is_found_among_the_streams() {
    let page = r#"{"messages":9,"account_details":[{"name":"$G","stream_detail":[
        {"name":"PAY_DEAD","state":{"messages":1}},{"name":"PAY_ACCEPTED","state":{"messages":7,"bytes":2}}]}]}"#;
    for (text, stream, expected) in
        [(page, "PAY_ACCEPTED", 7), (page, "PAY_NONE", 0), ("{}", "PAY_ACCEPTED", 0)]
    {
        assert_eq!(
            parsed::<JetStreamPage>(text, "").unwrap().messages_of(stream),
            expected,
            "{stream} of {text}"
        );
    }
}
