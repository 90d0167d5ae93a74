//! Which of several replicas of one sender is listened to.
//!
//! A highly available pair of Prometheis scrapes the same targets and sends everything twice, told apart by
//! a replica label. Summing both would double every rate, so one replica is elected per scope: the first
//! seen. Another takes over when it has a sample more than the failover time later than the newest one of
//! the elected. This is event time, so that a replay and a backlog elect as the live stream did.
//!
//! A request elects as it is read, and may turn out malformed further on: what was elected since the last
//! [`Election::settle`] can be taken back.

use serde::{Deserialize, Serialize};

/// The election of one scope. Replica 0 stands for "no replica label" and is always listened to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Election {
    now: Elected,
    #[serde(skip)]
    settled: Elected,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Elected {
    replica: u32,
    newest_ms: i64,
    failovers: u64,
}

impl Election {
    /// Whether to take a sample of this replica at this event time.
    #[inline]
    pub fn admit(&mut self, replica: u32, timestamp_ms: i64, failover_ms: i64) -> bool {
        if replica == 0 {
            return true;
        }
        let elected = &mut self.now;
        if elected.replica != replica {
            let silent = timestamp_ms.saturating_sub(elected.newest_ms) > failover_ms;
            if elected.replica != 0 && !silent {
                return false;
            }
            elected.failovers += u64::from(elected.replica != 0);
            elected.replica = replica;
            elected.newest_ms = timestamp_ms;
        }
        elected.newest_ms = elected.newest_ms.max(timestamp_ms);
        true
    }

    /// What was elected so far stands.
    #[inline]
    pub fn settle(&mut self) {
        self.settled = self.now;
    }

    /// Back to what stood at the last [`Election::settle`].
    pub fn take_back(&mut self) {
        self.now = self.settled;
    }

    /// The replica that is listened to; 0 before the first.
    #[must_use]
    pub fn elected(&self) -> u32 {
        self.now.replica
    }

    /// How often another replica took over.
    #[must_use]
    pub fn failovers(&self) -> u64 {
        self.now.failovers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_replica_is_kept_while_it_sends() {
        let mut election = Election::default();
        for second in 0..100 {
            assert!(election.admit(1, second * 1000, 30_000));
            assert!(!election.admit(2, second * 1000 + 500, 30_000));
        }
        assert_eq!(election.failovers(), 0);
    }

    #[test]
    fn another_takes_over_after_the_silence_and_stays() {
        let mut election = Election::default();
        assert!(election.admit(1, 0, 30_000));
        assert!(!election.admit(2, 30_000, 30_000));
        assert!(election.admit(2, 30_001, 30_000));
        assert!(!election.admit(1, 31_000, 30_000));
        assert!(election.admit(2, 45_000, 30_000));
        assert_eq!(election.failovers(), 1);
    }

    #[test]
    fn a_sender_without_replica_label_is_always_heard() {
        let mut election = Election::default();
        assert!(election.admit(1, 0, 30_000));
        assert!(election.admit(0, 0, 30_000));
    }

    #[test]
    fn what_was_not_settled_is_taken_back() {
        let mut election = Election::default();
        assert!(election.admit(1, 0, 30_000));
        election.settle();
        assert!(election.admit(2, 60_000, 30_000));
        election.take_back();
        assert_eq!(election.failovers(), 0);
        assert!(election.admit(1, 1000, 30_000));
        assert!(!election.admit(2, 20_000, 30_000));
    }
}
