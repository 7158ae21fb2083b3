//! How the program ends, and what it prints, when nobody reads its output any more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use devstack::Signal;
use devstack::testing::{TestPort, UnreadProgram};

/// Every role at once, with servers that are away: they start all the same.
#[test]
fn a_signal_ends_stages_whose_output_nobody_reads() {
    // Nothing is logged before the signal, then what is usual.
    for (signal, filter) in [(Signal::Terminate, "runtime::drain=info"), (Signal::Interrupt, "info")] {
        let ports: Vec<TestPort> = (0..8).map(|_| TestPort::take()).collect();
        let number = |place: usize| ports[place].number();
        let mut arguments = vec![
            "all".to_owned(),
            format!("--set=log.filter={filter}"),
            format!("--set=nats.url=nats://127.0.0.1:{}", number(6)),
            format!("--set=postgres.url=postgres://nobody@127.0.0.1:{}/none", number(7)),
        ];
        for (place, role) in ["risk", "fx", "reserve", "settle", "wallet", "janitor"].iter().enumerate() {
            arguments.push(format!("--set=admin.{role}={}", number(place)));
        }
        let mut program = UnreadProgram::start(env!("CARGO_BIN_EXE_stages"), &arguments).unwrap();
        for place in 0..6 {
            assert!(program.await_listening(number(place), true), "the roles open their ports");
        }
        program.signal(signal).unwrap();
        assert_eq!(program.exit_code(), Some(0), "{signal:?}, {filter}");
    }
}

#[test]
fn what_is_printed_for_nobody_is_no_failure() {
    let rows: [(&[&str], i32); 5] = [
        (&["all", "--print-config"], 0),
        (&["--help"], 0),
        (&["all", "--set", "pipeline.retry_ms_max=0"], 64),
        (&["all", "--set", "log.filter=a=b=c"], 64),
        (&["nonsense"], 64),
    ];
    for (arguments, code) in rows {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut program = UnreadProgram::start(env!("CARGO_BIN_EXE_stages"), &arguments).unwrap();
        assert_eq!(program.exit_code(), Some(code), "{arguments:?}");
    }
}
