//! From a body to staged samples: what is checked for each sample of a known series.

use quoll_prometheus_protocol::decode;

use super::{Receipt, Receiver, WriteError};
use crate::log::Staged;
use crate::stats::Rejection;
use crate::table::Binding;

impl Receiver {
    pub(super) fn stage(
        &mut self,
        tenant: usize,
        body: &[u8],
        now_ms: i64,
        now_seconds: u32,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let latest_ms = now_ms.saturating_add(self.config.future_limit_ms);
        let earliest_ms = now_ms.saturating_sub(self.config.past_limit_ms);
        let mut all = decode::series(body);
        for series in all.by_ref() {
            let series = series?;
            receipt.series += 1;
            if receipt.series > self.config.limits.series_per_request as u64 {
                return Err(WriteError::TooManySeries { limit: self.config.limits.series_per_request });
            }
            receipt.histograms += series.histogram_count() as u64;
            self.stats.exemplars += series.exemplar_count() as u64;
            match self.binding(tenant, &series, now_seconds)? {
                Binding::Ignored => receipt.ignored += series.sample_count() as u64,
                Binding::Rejected(reason) => receipt.rejected[reason as usize] += series.sample_count().max(1) as u64,
                Binding::Selected { scope, series: handle, replica } => {
                    let election = &mut self.scopes[scope as usize].election;
                    for sample in series.samples() {
                        let sample = sample?;
                        let timestamp_ms = sample.timestamp_ms;
                        if timestamp_ms > latest_ms {
                            receipt.rejected[Rejection::TooFarInFuture as usize] += 1;
                        } else if timestamp_ms < earliest_ms {
                            receipt.rejected[Rejection::TooOld as usize] += 1;
                        } else if !election.admit(replica, timestamp_ms, self.config.ha_failover_ms) {
                            receipt.replica += 1;
                        } else {
                            self.staged.push(Staged { scope, series: handle, timestamp_ms, value: sample.value });
                        }
                    }
                }
            }
        }
        receipt.metadata = all.metadata() as u64;
        receipt.selected = self.staged.len() as u64;
        Ok(())
    }
}
