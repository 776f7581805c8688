//! The parts that the peers' crates share: parsing a shape and timing a call.

use std::time::{Duration, Instant};

/// T,B,I,H.
pub fn sizes(shape: &str) -> [usize; 4] {
    let sizes: Vec<usize> = shape.split(',').map(|size| size.parse().expect("T,B,I,H")).collect();
    sizes.try_into().expect("T,B,I,H")
}

/// Returns the median time of a call in milliseconds, after two warm-up calls, over at least five calls and 0.4 s.
pub fn median(mut call: impl FnMut()) -> f64 {
    call();
    call();
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.len() < 5 || start.elapsed() < Duration::from_millis(400) {
        let before = Instant::now();
        call();
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
