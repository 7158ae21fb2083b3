//! What the operating system says of processes: processor time and memory.

use super::figures::Named;
use std::collections::BTreeMap;
use std::fs;

/// A tick of `/proc/PID/stat` in microseconds: the kernel shows a hundred a second to every program, whatever
/// its own clock does.
const TICK_US: f64 = 10_000.0;

/// How the group of this process is called.
pub(crate) const OWN: &str = "loadtest";

/// The group whose processes start others for their sessions.
pub(crate) const POSTGRES: &str = "postgres";

/// What is measured: the first process of each group, by the group's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups(BTreeMap<u32, String>);

/// Processor time so far, in ticks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticks {
    /// By group.
    pub(crate) groups: BTreeMap<String, u64>,
    /// Of the whole machine, whoever it was for.
    pub(crate) machine: u64,
    /// What the machine below took from ours.
    pub(crate) stolen: u64,
    /// Of children of this process that have ended.
    pub(crate) children: u64,
}

/// One line of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// Its own time.
    own: u64,
    /// That of its children that have ended.
    children: u64,
}

impl Groups {
    /// The members of a stack, and this process.
    pub(crate) fn of(members: impl IntoIterator<Item = (String, u32)>) -> Groups {
        let own = (OWN.to_owned(), std::process::id());
        Groups(members.into_iter().chain([own]).map(|(name, pid)| (pid, name)).collect())
    }

    /// The processor time of each group up to now.
    pub(crate) fn ticks(&self) -> Ticks {
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (machine, stolen) = machine.lines().next().and_then(parse_machine).unwrap_or_default();
        let stats: Vec<Stat> = stats().collect();
        let own = stats.iter().find(|stat| stat.pid == std::process::id());
        let children = own.map_or(0, |stat| stat.children);
        Ticks { groups: self.sum(&stats), machine, stolen, children }
    }

    fn sum(&self, stats: &[Stat]) -> BTreeMap<String, u64> {
        let mut sums: BTreeMap<String, u64> = self.0.values().map(|name| (name.clone(), 0)).collect();
        for stat in stats {
            let (own, child_of) = (self.0.get(&stat.pid), self.0.get(&stat.parent));
            let (name, ticks) = match (own, child_of) {
                // What a session used is its server's when it has ended.
                (Some(name), _) if name == POSTGRES => (name, stat.own + stat.children),
                (Some(name), _) => (name, stat.own),
                (None, Some(name)) if name == POSTGRES => (name, stat.own + stat.children),
                (None, _) => continue,
            };
            *sums.entry(name.clone()).or_default() += ticks;
        }
        sums
    }

    /// Forgets the highest memory so far, where the system lets us.
    pub(crate) fn forget_peaks(&self) {
        const FORGET_PEAK: &str = "5";
        for pid in self.0.keys() {
            // Where it may not be forgotten, the peak is that of the whole life.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), FORGET_PEAK);
        }
    }

    /// Memory in use now, or the highest since peaks were forgotten, in megabytes by group. Of Postgres: what is
    /// its processes' own, now, and what they share once.
    pub(crate) fn memory(&self, peak: bool) -> Named {
        let megabytes = |kilobytes: u64| super::figures::rounded(kilobytes as f64 / 1_024.0, 1);
        let field = if peak { "VmHWM" } else { "VmRSS" };
        let of = |(pid, name): (&u32, &String)| {
            let kilobytes = if name == POSTGRES { of_server(*pid) } else { status_of(*pid, &[field])?[0] };
            Some((name.clone(), megabytes(kilobytes)))
        };
        self.0.iter().filter_map(of).collect()
    }
}

/// A server and its sessions: memory of their own, and once what they share.
fn of_server(pid: u32) -> u64 {
    let family = stats().filter(|stat| stat.pid == pid || stat.parent == pid);
    let parts = family.filter_map(|stat| status_of(stat.pid, &["RssAnon", "RssShmem"]));
    let (own, shared) = parts.fold((0, 0), |(own, shared), part| (own + part[0], part[1].max(shared)));
    own + shared
}

/// Every process as it is now.
fn stats() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
}

/// The name in brackets may hold spaces and brackets itself.
fn parse_stat(line: &str) -> Option<Stat> {
    let (before, after) = line.rsplit_once(')')?;
    let pid = before.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // Fields 14 to 17 of proc(5); the first here is the third there.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        own: number(14)? + number(15)?,
        children: number(16)? + number(17)?,
    })
}

/// Of the first line of `/proc/stat`: ticks in which something ran here, and ticks that were stolen.
fn parse_machine(line: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> =
        line.strip_prefix("cpu ")?.split_whitespace().map_while(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user.
    let [user, nice, system, _, _, irq, softirq, steal] = *fields.first_chunk()?;
    Some((user + nice + system + irq + softirq, steal))
}

/// Fields of `/proc/PID/status`, in kilobytes.
fn status_of(pid: u32, names: &[&str]) -> Option<Vec<u64>> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, names)
}

fn parse_status(text: &str, names: &[&str]) -> Option<Vec<u64>> {
    let value = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    names.iter().map(value).collect()
}

impl Ticks {
    /// Microseconds of each group since then.
    pub(crate) fn since(&self, then: &Ticks) -> Named {
        let us = |(name, ticks): (&String, &u64)| {
            let before = then.groups.get(name).copied().unwrap_or(0);
            (name.clone(), ticks.saturating_sub(before) as f64 * TICK_US)
        };
        self.groups.iter().map(us).collect()
    }

    /// Microseconds of the whole machine, those stolen from it, and those of children that ended since then.
    pub(crate) fn of_all_since(&self, then: &Ticks) -> (f64, f64, f64) {
        let us = |now: u64, before: u64| now.saturating_sub(before) as f64 * TICK_US;
        (us(self.machine, then.machine), us(self.stolen, then.stolen), us(self.children, then.children))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_past_any_name() {
        let rest = "100 7 0 -1 4194560 5131 0 0 0 11 22 33 44 20 0 1 0 987 6500352 901";
        let stat = Some(Stat { pid: 7, parent: 42, own: 33, children: 77 });
        let rows = [
            (format!("7 (postgres) S 42 {rest}"), stat),
            (format!("8 (a) b) Z (c) R 1 {rest}"), Some(Stat { pid: 8, parent: 1, own: 33, children: 77 })),
            (
                format!("9 (tokio worker 1) R 2 {rest}"),
                Some(Stat { pid: 9, parent: 2, own: 33, children: 77 }),
            ),
            ("7 (sh) S 1 2".to_owned(), None),
            (String::new(), None),
        ];
        for (line, expected) in rows {
            assert_eq!(parse_stat(&line), expected, "{line}");
        }
    }

    #[test]
    fn the_machine_s_line_and_status_files_are_read() {
        let rows = [
            ("cpu  10 20 30 400 50 6 7 8 9 0", Some((73, 8))),
            ("cpu0 10 20 30 400 50 6 7 8 9 0", None),
            ("cpu  10 20 30", None),
            ("", None),
        ];
        for (line, expected) in rows {
            assert_eq!(parse_machine(line), expected, "{line}");
        }
        let status = "Name:\ta b\nVmHWM:\t   12345 kB\nVmRSS:\t 99 kB\nThreads:\t3\n";
        assert_eq!(parse_status(status, &["VmRSS", "VmHWM"]), Some(vec![99, 12_345]));
        assert_eq!(parse_status(status, &["VmRSS", "RssAnon"]), None);
        assert_eq!(parse_status(status, &["Threads"]), None);
    }

    #[test]
    fn sessions_count_to_their_server_also_when_they_have_ended() {
        let groups = Groups::of([("postgres".to_owned(), 10), ("stages".to_owned(), 20)]);
        let stat = |pid, parent, own, children| Stat { pid, parent, own, children };
        // A session of 100 ticks is open, then gone; the stages have a child too, which is not theirs.
        let then = [stat(10, 1, 5, 0), stat(11, 10, 100, 0), stat(20, 1, 7, 0), stat(21, 20, 9, 0)];
        let now = [stat(10, 1, 6, 130), stat(20, 1, 9, 9), stat(30, 1, 1_000, 0)];
        let [then, now] = [&then[..], &now[..]].map(|stats| groups.sum(stats));
        let ticks = |groups| Ticks { groups, ..Ticks::default() };
        let used = ticks(now).since(&ticks(then));
        assert_eq!((used["postgres"], used["stages"], used[OWN]), (310_000.0, 20_000.0, 0.0));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let groups = Groups::of([]);
        assert!(groups.ticks().groups.contains_key(OWN) && groups.ticks().machine > 0);
        for peak in [false, true] {
            assert!(groups.memory(peak)[OWN] > 0.0, "{peak}");
        }
    }
}
