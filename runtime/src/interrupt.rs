//! Ctrl-C as a flag, so that training can stop after a step and the script can save what it has.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the handler. A signal belongs to the process, so this is a global.
static REQUESTED: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// The status with which a shell reports a process ended by Ctrl-C.
pub const EXIT_STATUS: i32 = 130;

/// Makes Ctrl-C set the flag. If it comes while the flag is still set, the process ends with
/// [`EXIT_STATUS`]: a second Ctrl-C stops what the first didn't. Further calls do nothing.
/// Where the system refuses a handler, Ctrl-C ends the process as before.
pub fn install() {
    INSTALL.call_once(|| {
        let _ = ctrlc::try_set_handler(|| {
            if REQUESTED.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_STATUS);
            }
        });
    });
}

/// Whether Ctrl-C has come since the last [`clear`].
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Takes the request as answered.
pub fn clear() {
    REQUESTED.store(false, Ordering::SeqCst);
}
