//! How often the kernel left a program out.
//!
//! It does so where the program would interrupt itself on one CPU (`bpf_prog::active`), and counts it since Linux 5.12
//! as `recursion_misses` in `/proc/self/fdinfo`, which needs no capability to be read.

use std::fs::File;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

/// Of one program.
#[derive(Debug)]
pub struct Misses(Option<File>);

impl Misses {
    /// Of the program behind a descriptor of this process.
    pub fn of(program: RawFd) -> Self {
        Self(File::open(format!("/proc/self/fdinfo/{program}")).ok())
    }

    /// So far; 0 where the kernel does not count.
    pub fn count(&self) -> u64 {
        let mut text = [0; 1024];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        parse(&String::from_utf8_lossy(&text[..read]))
    }
}

fn parse(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_taken_from_its_line_and_an_older_kernels_text_has_none() {
        assert_eq!(parse("pos:\t0\nprog_type:\t26\nrun_cnt:\t7\nrecursion_misses:\t44\nverified_insns:\t9\n"), 44);
        assert_eq!(parse("pos:\t0\nrun_cnt:\t7\n"), 0);
    }
}
