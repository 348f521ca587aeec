//! What this machine can do at this moment, for lower bounds of times. Clocks move by a tenth
//! and more from one moment to the next, so a rate is measured beside what it is compared with.

#![allow(unsafe_code)]

use std::fs;
use std::hint::black_box;
use std::time::Instant;

/// Bytes of memory that a process can still take: what the system calls available, or what its
/// control group leaves if that is less. None where neither is known.
pub fn available_memory() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("MemAvailable:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    });
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse().ok()
    };
    // What the group holds as copies of files can be given back.
    let cached = || {
        let text = fs::read_to_string("/sys/fs/cgroup/memory.stat").ok()?;
        let line = text.lines().find(|line| line.starts_with("file "))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let group = number("memory.max")
        .zip(number("memory.current"))
        .map(|(most, now)| most.saturating_sub(now.saturating_sub(cached().unwrap_or(0))));
    match (system, group) {
        (Some(system), Some(group)) => Some(system.min(group)),
        (system, group) => system.or(group),
    }
}

/// Operations per second of f32 multiply-adds in registers on one core, two for each, in the
/// widest vectors here. Takes about 20 microseconds.
pub fn multiply_add_rate() -> f64 {
    /// Independent chains: two units with a latency of four cycles need eight.
    const CHAINS: usize = 12;
    const ROUNDS: usize = 8000;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx512f")]
        fn wide(x: f32) -> f32 {
            let mut acc = [_mm512_set1_ps(x); CHAINS];
            let (y, z) = (_mm512_set1_ps(x), _mm512_set1_ps(-x));
            for _ in 0..ROUNDS {
                for a in &mut acc {
                    *a = _mm512_fmadd_ps(y, z, *a);
                }
            }
            acc.iter().map(|a| _mm512_reduce_add_ps(*a)).sum()
        }
        #[target_feature(enable = "avx2,fma")]
        fn narrow(x: f32) -> f32 {
            let mut acc = [_mm256_set1_ps(x); CHAINS];
            let (y, z) = (_mm256_set1_ps(x), _mm256_set1_ps(-x));
            for _ in 0..ROUNDS {
                for a in &mut acc {
                    *a = _mm256_fmadd_ps(y, z, *a);
                }
            }
            acc.iter().map(|a| _mm256_cvtss_f32(*a)).sum()
        }
        if is_x86_feature_detected!("avx512f") {
            let start = Instant::now();
            // SAFETY: the instructions are there.
            black_box(unsafe { wide(black_box(0.25)) });
            return (ROUNDS * CHAINS * 32) as f64 / start.elapsed().as_secs_f64();
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let start = Instant::now();
            // SAFETY: the instructions are there.
            black_box(unsafe { narrow(black_box(0.25)) });
            return (ROUNDS * CHAINS * 16) as f64 / start.elapsed().as_secs_f64();
        }
    }
    const LANES: usize = 4 * CHAINS;
    let mut acc = [black_box(0.25f32); LANES];
    let (y, z) = (black_box(0.5f32), black_box(0.75f32));
    let start = Instant::now();
    for _ in 0..ROUNDS {
        for a in &mut acc {
            *a += y * z;
        }
        black_box(&mut acc);
    }
    (ROUNDS * LANES * 2) as f64 / start.elapsed().as_secs_f64()
}

/// Bytes per second, those read and those written, that one core moves when it updates `bytes`
/// bytes of f32 in place over and over: the rate of the memory that so many bytes stay in.
pub fn update_rate(bytes: usize) -> f64 {
    let count = (bytes / size_of::<f32>()).max(1 << 12);
    let mut values = vec![1.0f32; count];
    let rounds = (1 << 22) / count + 4;
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let start = Instant::now();
        for value in &mut values {
            *value = 0.5 - *value;
        }
        black_box(&mut values);
        best = best.min(start.elapsed().as_secs_f64());
    }
    (2 * count * size_of::<f32>()) as f64 / best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_a_computer() {
        for rate in [multiply_add_rate(), update_rate(1 << 16)] {
            assert!((1e7..1e13).contains(&rate), "{rate}");
        }
    }
}
