//! Inputs that take too long.
//!
//! Responsible for ending the process when one input has taken more than [`MOST`] of processor time, as libFuzzer counts whole
//! seconds and those of the clock, which pass while others have the processor. The input is kept like one that panics.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The most that one input may take.
pub const MOST: Duration = Duration::from_millis(100);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Odd while an input is being tried; another number for each.
static TRIED: AtomicU64 = AtomicU64::new(0);
static WATCHED: Once = Once::new();

/// Tries an input under watch.
pub fn watched(run: impl Fn(&[u8]), input: &[u8]) {
    WATCHED.call_once(|| drop(thread::spawn(watch)));
    TRIED.fetch_add(1, Ordering::Relaxed);
    run(input);
    TRIED.fetch_add(1, Ordering::Relaxed);
}

fn watch() {
    let mut seen = (0, processor_time());
    loop {
        thread::sleep(LOOK);
        let (tried, spent) = (TRIED.load(Ordering::Relaxed), processor_time());
        if tried != seen.0 || tried & 1 == 0 {
            seen = (tried, spent);
        } else if spent.saturating_sub(seen.1) > MOST {
            let spent = spent.saturating_sub(seen.1).as_millis();
            // On purpose not a panic: this thread is not the one that tries.
            eprintln!("panicked at this input: it has taken {spent} ms of processor time");
            std::process::abort();
        }
    }
}

/// What this process has had so far; the watch itself has next to none of it.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
