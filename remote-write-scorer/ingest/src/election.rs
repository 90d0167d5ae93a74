//! Which of several replicas of one sender is listened to.
//!
//! A highly available pair of Prometheis scrapes the same targets and sends everything twice, told apart by
//! a replica label. Summing both would double every rate, so one replica is elected per scope: the first
//! seen. Another takes over when it has a sample more than the failover time later than the newest one of
//! the elected. This is event time, so that a replay and a backlog elect as the live stream did.

use serde::{Deserialize, Serialize};

/// The election of one scope. Replica 0 stands for "no replica label" and is always listened to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Election {
    elected: u32,
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
        if self.elected != replica {
            let silent = timestamp_ms.saturating_sub(self.newest_ms) > failover_ms;
            if self.elected != 0 && !silent {
                return false;
            }
            self.failovers += u64::from(self.elected != 0);
            self.elected = replica;
            self.newest_ms = timestamp_ms;
        }
        self.newest_ms = self.newest_ms.max(timestamp_ms);
        true
    }

    /// How often another replica took over.
    #[must_use]
    pub fn failovers(&self) -> u64 {
        self.failovers
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
}
