//! How long the disk below the ledger takes to have something for sure, and how often it was asked for it.

use super::figures::{median, rounded};
use crate::error::LoadtestError;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

/// A page of the file system; a small commit is one.
const PAGE: usize = 4_096;
/// Written over and over, as a segment of the write-ahead log is: the file does not grow.
const PAGES: u64 = 256;
/// Written for one figure.
const WRITES: u64 = 300;

/// The median time of a page written and flushed in this folder, in microseconds.
pub(crate) fn fdatasync_us(folder: &Path) -> Result<f64, LoadtestError> {
    let path = folder.join(format!("fdatasync-{}.tmp", std::process::id()));
    let measured = measure(&path).map_err(LoadtestError::file(&path));
    // It may never have been there.
    let _ = std::fs::remove_file(&path);
    measured
}

fn measure(path: &Path) -> std::io::Result<f64> {
    let file = File::options().write(true).create(true).truncate(true).open(path)?;
    let page = [0x5a_u8; PAGE];
    for number in 0..PAGES {
        file.write_all_at(&page, number * PAGE as u64)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 0..WRITES {
        let started = Instant::now();
        file.write_all_at(&page, number % PAGES * PAGE as u64)?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(rounded(median(times), 1))
}

/// How often the disk of this folder has flushed what it holds, whoever asked for it; nothing where the system
/// does not count that. Who asks while a flush is on its way may share the next.
pub(crate) fn flushes(folder: &Path) -> Option<u64> {
    let device = folder.metadata().ok()?.dev();
    parse_flushes(&std::fs::read_to_string("/proc/diskstats").ok()?, major(device), minor(device))
}

/// A partition has no flushes of its own, so those of its disk stand for it.
fn parse_flushes(text: &str, major: u64, minor: u64) -> Option<u64> {
    // Fields from 1: major, minor, name, then 17 counts, of which flush requests are the 16th.
    const FLUSHES: usize = 18;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let is = |line: &&Vec<&str>| {
        line.first() == Some(&major.to_string().as_str()) && line.get(1) == Some(&minor.to_string().as_str())
    };
    let own = lines.iter().find(is)?;
    let count = |line: &Vec<&str>| line.get(FLUSHES)?.parse::<u64>().ok();
    let disk = lines.iter().filter(|line| {
        line.get(2).zip(own.get(2)).is_some_and(|(disk, part)| part.starts_with(*disk) && part != disk)
    });
    count(own).filter(|flushes| *flushes > 0).or_else(|| disk.filter_map(count).max())
}

/// As the C library takes device numbers apart.
fn major(device: u64) -> u64 {
    ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000)
}

fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xffff_ff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_s_flushes_are_found_by_its_number() {
        let text = " 254       0 vda 1 2 3 4 5 6 7 8 0 10 11 12 13 14 15 77 17\n \
                    259       0 nvme0n1 1 2 3 4 5 6 7 8 0 10 11 12 13 14 15 88 17\n \
                    259       1 nvme0n1p1 1 2 3 4 5 6 7 8 0 10 11 12 13 14 15 0 0\n   \
                    8       0 sda 1 2 3 4 5 6 7 8 0 10 11\n";
        for (major, minor, expected) in
            [(254, 0, Some(77)), (259, 0, Some(88)), (259, 1, Some(88)), (8, 0, None), (1, 1, None)]
        {
            assert_eq!(parse_flushes(text, major, minor), expected, "{major}:{minor}");
        }
        let device = (254 << 8) | 0x12;
        assert_eq!((major(device), minor(device)), (254, 0x12));
    }

    #[test]
    fn a_disk_takes_time() {
        assert!(fdatasync_us(&std::env::temp_dir()).unwrap() > 0.0);
    }
}
