//! `devstack watch`: the numbers that move, from the gateway's `/live`.
//!
//! On a terminal they are drawn in place, elsewhere they are a line each second. The cursor is never hidden, so that
//! however this ends there is nothing to put back.

mod drawing;
mod stream;

use std::io::{ErrorKind, Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use config::Config;
use wire::{LiveReport, Role};

use crate::error::StackError;
use crate::member::{Member, listeners_of_role};
use crate::state::StateFolder;
use crate::terminal::{self, Size};
use drawing::{Colour, Part};
use stream::Stream;

/// Between two attempts to reach the gateway.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// End after so many seconds of numbers; else with Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

pub(crate) fn show(state: &StateFolder, config: &Config, wanted: &Wanted) -> Result<(), StackError> {
    match watch(state, config, wanted.count.unwrap_or(u64::MAX)) {
        // A reader that has gone has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        watched => Ok(watched?),
    }
}

/// The error is of the terminal; of a gateway that is away there is none.
fn watch(state: &StateFolder, config: &Config, count: u64) -> std::io::Result<()> {
    let mut screen = Screen::default();
    let mut shown = 0;
    loop {
        let Some(address) = address(state, config) else { return Ok(()) };
        let reason = match Stream::open(address) {
            Ok(mut stream) => loop {
                match stream.next() {
                    Ok(report) => screen.show(&report)?,
                    Err(error) => break error,
                }
                shown += 1;
                if shown == count {
                    return Ok(());
                }
            },
            Err(error) => error,
        };
        screen.wait(address, &reason)?;
        std::thread::sleep(RETRY);
    }
}

/// Where the gateway of the running stack listens, else where it would.
fn address(state: &StateFolder, config: &Config) -> Option<SocketAddr> {
    let running = state.read(Member::Gateway).filter(|record| record.process.is_alive());
    let running = running.and_then(|record| record.addresses.first().copied());
    running.or_else(|| listeners_of_role(config, Role::Gateway).next().map(|listener| listener.address))
}

/// What was drawn, so that it can be drawn over.
#[derive(Debug, Default)]
struct Screen {
    lines: usize,
    is_waiting: bool,
}

impl Screen {
    fn show(&mut self, report: &LiveReport) -> std::io::Result<()> {
        self.is_waiting = false;
        match terminal::size() {
            Some(size) => self.draw(drawing::picture(report), size),
            None => writeln!(stdout(), "{}", drawing::line(report)),
        }
    }

    /// Says once that nothing comes, and why.
    fn wait(&mut self, address: SocketAddr, reason: &std::io::Error) -> std::io::Result<()> {
        if std::mem::replace(&mut self.is_waiting, true) {
            return Ok(());
        }
        let text = format!("no gateway on {address} ({reason}): waiting for it; `make up` starts one");
        match terminal::size() {
            Some(size) => self.draw(vec![vec![(Colour::Red, text)]], size),
            None => writeln!(stdout(), "{text}"),
        }
    }

    fn draw(&mut self, lines: Vec<Vec<Part>>, size: Size) -> std::io::Result<()> {
        let lines = &lines[..lines.len().min(size.rows.saturating_sub(1))];
        let text = drawn(lines, self.lines, size.columns, terminal::has_colours());
        self.lines = lines.len();
        let mut out = stdout();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// The lines over those of before, so that nothing flickers: each ends where the terminal does.
fn drawn(lines: &[Vec<Part>], before: usize, columns: usize, has_colours: bool) -> String {
    let mut text = if before > 0 { format!("\x1b[{before}F") } else { String::new() };
    for line in lines {
        let mut left = columns;
        for (colour, part) in line {
            let part: String = part.chars().take(left).collect();
            left -= part.chars().count();
            match colour {
                Colour::Green if has_colours => text.push_str(&format!("\x1b[32m{part}\x1b[0m")),
                Colour::Red if has_colours => text.push_str(&format!("\x1b[31m{part}\x1b[0m")),
                Colour::Plain | Colour::Green | Colour::Red => text.push_str(&part),
            }
        }
        // A line that fills the terminal leaves the cursor on its last letter, which would be erased.
        text.push_str(if left > 0 { "\x1b[K\n" } else { "\n" });
    }
    text + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_drawn_over_the_one_before_and_cut_at_the_edge() {
        let line = |text: &str| vec![(Colour::Plain, text.to_owned()), (Colour::Green, "up".to_owned())];
        for (before, columns, has_colours, expected) in [
            (0, 80, false, "a up\x1b[K\n\x1b[J"),
            (3, 80, false, "\x1b[3Fa up\x1b[K\n\x1b[J"),
            (0, 80, true, "a \x1b[32mup\x1b[0m\x1b[K\n\x1b[J"),
            (0, 3, true, "a \x1b[32mu\x1b[0m\n\x1b[J"),
            (0, 1, false, "a\n\x1b[J"),
        ] {
            assert_eq!(drawn(&[line("a ")], before, columns, has_colours), expected);
        }
    }
}
