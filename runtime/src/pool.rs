//! A small spin-then-park thread pool for work of a few microseconds.
//!
//! `rayon` wakes a sleeping worker in 7 to 30 microseconds, which is longer than most kernels;
//! here idle workers spin for [`SPIN`] before they park, and the caller never waits for a worker
//! that has not started: it does all parts itself if need be. Which thread does which part is
//! left to an atomic counter, so parts must not depend on each other.

#![allow(unsafe_code)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle worker spins before it parks: longer than what steps of a training do on one
/// core between others, since waking a parked worker costs its caller a call into the system.
const SPIN: Duration = Duration::from_millis(1);

/// Bit of [`Shared::gate`] that is set while a job takes workers; the bits above it count the
/// workers that are inside.
const OPEN: usize = 1;
const ENTERED: usize = 2;

/// What the workers of the current job call, with its type erased.
#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), usize),
    parts: usize,
}

struct Shared {
    /// Counts jobs; workers watch it.
    epoch: AtomicU64,
    /// [`OPEN`] and the number of workers inside. A worker may read `job` only between an
    /// increment that returned a value with `OPEN` set and its decrement.
    gate: AtomicUsize,
    /// The next part to take.
    next: AtomicUsize,
    /// Written by the caller while the gate is shut and nobody is inside.
    job: UnsafeCell<Job>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

// SAFETY: `job` is the only field that isn't `Sync`; the gate protocol (see there) lets no
// worker read it while the caller writes it, and the closure behind it is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the raw pointers in `job` are only followed inside `Pool::run`'s extent.
unsafe impl Send for Shared {}

/// A fixed set of threads, the caller among them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Taken while a job runs: a nested or second caller runs its parts alone.
    busy: AtomicBool,
}

impl Pool {
    /// A pool in which `threads` threads work, the caller included; 0 counts as 1. One thread
    /// spawns nothing. If the system refuses a thread, the pool is smaller.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            gate: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job {
                data: std::ptr::null(),
                call: nothing,
                parts: 0,
            }),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads)
            .map_while(|at| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("aec-{at}"))
                    .spawn(move || work(&shared))
                    .ok()
            })
            .collect();
        Pool {
            shared,
            workers,
            busy: AtomicBool::new(false),
        }
    }

    /// Number of threads that work, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `part(0)` .. `part(parts - 1)`, each once, on the pool's threads and the caller's,
    /// and returns when all are done. A panic in a part is passed on after the others that had
    /// begun have ended. From inside a part (or while another thread is in `run`) the parts run
    /// one after the other on the calling thread.
    pub fn run<F: Fn(usize) + Sync>(&self, parts: usize, part: F) {
        if parts <= 1 || self.workers.is_empty() || self.busy.swap(true, Ordering::Acquire) {
            (0..parts).for_each(part);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: the gate is shut. A worker that looks at `job` has entered while it was open,
        // and the previous `run` waited for all such to leave.
        unsafe {
            *shared.job.get() = Job {
                data: (&raw const part).cast(),
                call: call::<F>,
                parts,
            };
        }
        shared.next.store(0, Ordering::Relaxed);
        shared.gate.fetch_or(OPEN, Ordering::Release);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(shared.lock.lock().unwrap_or_else(PoisonError::into_inner));
            shared.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let at = shared.next.fetch_add(1, Ordering::Relaxed);
                if at >= parts {
                    break;
                }
                part(at);
            }
        }));
        if own.is_err() {
            shared.next.store(parts, Ordering::Relaxed);
        }
        let mut inside = shared.gate.fetch_and(!OPEN, Ordering::AcqRel) & !OPEN;
        let mut spins = 0u32;
        while inside != 0 {
            // An entered worker may have lost its core to another process.
            if spins < 20_000 {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
            inside = shared.gate.load(Ordering::Acquire) & !OPEN;
        }
        let theirs = shared
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.busy.store(false, Ordering::Release);
        if let Err(payload) = own {
            resume_unwind(payload);
        }
        if let Some(payload) = theirs {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        drop(
            self.shared
                .lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its parts' panics; there is nothing to pass on.
            let _ = worker.join();
        }
    }
}

unsafe fn nothing(_: *const (), _: usize) {}

/// # Safety
/// `data` must point at a live `F`.
unsafe fn call<F: Fn(usize)>(data: *const (), at: usize) {
    // SAFETY: by the contract above.
    unsafe { (*data.cast::<F>())(at) }
}

fn work(shared: &Shared) {
    let _flush = flush_denormals();
    let mut seen = 0;
    loop {
        seen = wait_for_epoch(shared, seen);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        if shared.gate.fetch_add(ENTERED, Ordering::AcqRel) & OPEN != 0 {
            // SAFETY: entered while open, so `job` is complete and stays alive and unchanged
            // until the decrement below.
            let job = unsafe { *shared.job.get() };
            let result = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    let at = shared.next.fetch_add(1, Ordering::Relaxed);
                    if at >= job.parts {
                        break;
                    }
                    // SAFETY: the caller waits in `run` until this worker has left.
                    unsafe { (job.call)(job.data, at) };
                }
            }));
            if let Err(payload) = result {
                shared.next.store(job.parts, Ordering::Relaxed);
                let mut slot = shared.panic.lock().unwrap_or_else(PoisonError::into_inner);
                slot.get_or_insert(payload);
            }
        }
        shared.gate.fetch_sub(ENTERED, Ordering::Release);
    }
}

/// Returns the job count once it differs from `seen`: spins for [`SPIN`], then sleeps.
fn wait_for_epoch(shared: &Shared, seen: u64) -> u64 {
    let start = Instant::now();
    loop {
        for _ in 0..256 {
            let now = shared.epoch.load(Ordering::Acquire);
            if now != seen {
                return now;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            break;
        }
    }
    let mut guard = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
    // The caller bumps the epoch, then reads `sleepers`; here it is the other way round, all
    // sequentially consistent: one of the two sees the other.
    shared.sleepers.fetch_add(1, Ordering::SeqCst);
    loop {
        let now = shared.epoch.load(Ordering::SeqCst);
        if now != seen {
            shared.sleepers.fetch_sub(1, Ordering::SeqCst);
            return now;
        }
        guard = shared
            .wake
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Restores the thread's treatment of denormals when dropped; see [`flush_denormals`].
pub struct DenormalGuard {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    saved: u64,
    /// The setting belongs to one thread.
    not_send: std::marker::PhantomData<*const ()>,
}

/// Makes this thread take denormal floats as zero, in and out, until the guard is dropped.
/// Every worker does so; a caller that shares work with them must too, or its parts would
/// differ.
pub fn flush_denormals() -> DenormalGuard {
    #[cfg(target_arch = "x86_64")]
    {
        const FTZ_DAZ: u32 = 0x8040;
        let saved = mxcsr();
        set_mxcsr(saved | FTZ_DAZ);
        DenormalGuard {
            saved: u64::from(saved),
            not_send: std::marker::PhantomData,
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        const FZ: u64 = 1 << 24;
        let saved: u64;
        // SAFETY: reads and writes the thread's float control register only.
        unsafe {
            std::arch::asm!("mrs {}, fpcr", out(reg) saved, options(nomem, nostack));
            std::arch::asm!("msr fpcr, {}", in(reg) saved | FZ, options(nomem, nostack));
        }
        DenormalGuard {
            saved,
            not_send: std::marker::PhantomData,
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    DenormalGuard {
        not_send: std::marker::PhantomData,
    }
}

impl Drop for DenormalGuard {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        set_mxcsr(self.saved as u32);
        #[cfg(target_arch = "aarch64")]
        // SAFETY: puts back the value that the register had.
        unsafe {
            std::arch::asm!("msr fpcr, {}", in(reg) self.saved, options(nomem, nostack));
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn mxcsr() -> u32 {
    let mut value = 0u32;
    // SAFETY: stores the control register at a live u32.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags))
    };
    value
}

#[cfg(target_arch = "x86_64")]
fn set_mxcsr(value: u32) {
    // SAFETY: loads a value that was read from the register, with FTZ and DAZ possibly added.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once() {
        for threads in [0, 1, 2, 3, 5] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads.max(1));
            for round in 0..200 {
                let parts = round % 17;
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                pool.run(parts, |at| {
                    counts[at].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn wakes_parked_workers() {
        let pool = Pool::new(3);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(2));
            let sum = AtomicUsize::new(0);
            pool.run(100, |at| {
                sum.fetch_add(at, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_lives() {
        let pool = Pool::new(3);
        for bad in 0..6 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(6, |at| {
                    if at == bad {
                        std::panic::panic_any(at);
                    }
                });
            }));
            assert_eq!(result.unwrap_err().downcast_ref::<usize>(), Some(&bad));
            let sum = AtomicUsize::new(0);
            pool.run(4, |at| {
                sum.fetch_add(at + 1, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 10);
        }
    }

    #[test]
    fn nested_runs_and_second_callers_work() {
        let pool = Pool::new(2);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.run(4, |_| {
                            pool.run(4, |_| {
                                sum.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 50 * 16);
    }

    #[test]
    fn denormals_are_flushed_in_workers_and_under_the_guard() {
        let tiny = std::hint::black_box(f32::MIN_POSITIVE);
        let half = std::hint::black_box(0.5f32);
        assert!(std::hint::black_box(tiny * half) > 0.0);
        {
            let _guard = flush_denormals();
            assert_eq!(std::hint::black_box(tiny * half), 0.0);
            let pool = Pool::new(2);
            let kept = AtomicUsize::new(0);
            pool.run(64, |_| {
                if std::hint::black_box(std::hint::black_box(tiny) * std::hint::black_box(half))
                    != 0.0
                {
                    kept.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert_eq!(kept.into_inner(), 0);
        }
        assert!(std::hint::black_box(std::hint::black_box(tiny) * half) > 0.0);
    }
}
