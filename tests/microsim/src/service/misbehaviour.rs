//! The faults that live beside the requests: burning CPU and leaking memory.

use std::time::{Duration, Instant};

use rustix::time::ClockId;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::meter::cpu_time;
use crate::wire::FaultSettings;

/// Length of one round of burning and resting.
const BURN_ROUND: Duration = Duration::from_millis(100);
/// Time between two pieces of leaked memory.
const LEAK_ROUND: Duration = Duration::from_millis(100);
/// A leak stops growing here, so that a forgotten fault does not take the machine down.
const MAX_LEAKED_BYTES: usize = 512 << 20;

/// Starts what burns and leaks when the faults in force say so.
pub fn misbehave(faults: watch::Receiver<FaultSettings>) {
    tokio::task::spawn_local(burn_on_command(faults.clone()));
    tokio::task::spawn_local(leak_on_command(faults));
}

/// Uses `time` of CPU on this thread; waits for the CPU where others have it.
pub fn burn(time: Duration) {
    if time.is_zero() {
        return;
    }
    let until = cpu_time(ClockId::ThreadCPUTime) + time;
    while cpu_time(ClockId::ThreadCPUTime) < until {
        std::hint::spin_loop();
    }
}

/// Burns on the very thread that serves, as a busy loop in a single-threaded service does:
/// requests that arrive meanwhile wait.
async fn burn_on_command(mut faults: watch::Receiver<FaultSettings>) {
    loop {
        let Ok(settings) = faults.wait_for(|settings| settings.cpu_share > 0.0).await.map(|settings| *settings) else {
            return;
        };
        let begun = Instant::now();
        burn(BURN_ROUND.mul_f64(settings.cpu_share));
        sleep(BURN_ROUND.saturating_sub(begun.elapsed())).await;
    }
}

async fn leak_on_command(mut faults: watch::Receiver<FaultSettings>) {
    loop {
        if faults.wait_for(|settings| settings.leak_mib_per_second > 0.0).await.is_err() {
            return;
        }
        let mut leaked: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        loop {
            let rate = faults.borrow().leak_mib_per_second;
            if rate <= 0.0 {
                break;
            }
            let piece = (rate * LEAK_ROUND.as_secs_f64() * f64::from(1 << 20)) as usize;
            if bytes + piece <= MAX_LEAKED_BYTES {
                // Written, not only reserved, so that it is resident.
                leaked.push(vec![0xa5; piece]);
                bytes += piece;
            }
            sleep(LEAK_ROUND).await;
        }
    }
}
