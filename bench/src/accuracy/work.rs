//! Doing many things on all cores, with progress.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a stage is: a bar on a terminal, elsewhere a line per quarter. Shared by all threads.
pub struct Meter {
    name: String,
    of: usize,
    done: AtomicUsize,
    quarter: AtomicUsize,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Meter {
    /// A stage of `of` units.
    pub fn new(name: &str, of: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(of as u64);
            if let Ok(style) = ProgressStyle::with_template("{prefix:>24} {bar:32} {pos}/{len} {eta} left") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar
        });
        let (done, quarter) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { name: name.to_owned(), of: of.max(1), done, quarter, began: Instant::now(), bar }
    }

    /// `units` more are done.
    pub fn add(&self, units: usize) {
        let done = self.done.fetch_add(units, Ordering::Relaxed) + units;
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None => {
                let quarter = 4 * done / self.of;
                if self.quarter.fetch_max(quarter, Ordering::Relaxed) < quarter {
                    eprintln!("{} {done}/{} after {:.0} s", self.name, self.of, self.began.elapsed().as_secs_f64());
                }
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `work` on every item, on as many threads as there are cores; results in the order of the items.
///
/// # Errors
/// The first error of any item.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(usize, &T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, anyhow::Result<R>)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(at, item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_and_an_error_comes_through() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(each(&items, |_, item| Ok(item * 2)).unwrap(), (0..100).map(|i| i * 2).collect::<Vec<_>>());
        assert!(each(&items, |_, item| if *item == 50 { anyhow::bail!("odd one") } else { Ok(()) }).is_err());
    }
}
