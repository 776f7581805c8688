//! The time of a forward from host to host, on the CPU and, if there is one, on the GPU. Results are checked before
//! anything is timed.
//!
//! cargo bench

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wgpu_rnn::{Device, GpuOptions, Lstm, LstmConfig, Tensor};

/// (T, B, I, H): small enough for a software adapter.
const SHAPES: [[usize; 4]; 4] = [[1, 1, 128, 128], [10, 3, 100, 20], [50, 1, 64, 128], [10, 16, 64, 128]];

fn forward(criterion: &mut Criterion) {
    let mut devices = vec![("cpu".to_owned(), Device::cpu())];
    match Device::gpu(&GpuOptions::new()) {
        Ok(gpu) => devices.push((gpu.to_string(), gpu)),
        Err(error) => println!("CPU only: {error}"),
    }
    let mut group = criterion.benchmark_group("forward");
    for [t, b, i, h] in SHAPES {
        let lstm = Lstm::random(LstmConfig::new(i, h), 0).expect("a valid configuration");
        let wave: Vec<f32> = (0..t * b * i).map(|n| (n as f32 * 0.37).sin()).collect();
        let x = Tensor::new([t, b, i], wave).expect("a full tensor");
        let mut expected: Option<Tensor> = None;
        for (name, device) in &devices {
            let placed = lstm.to(device).expect("a model that fits");
            let (output, _) = placed.forward(&x, None).expect("a forward that fits");
            let expected = expected.get_or_insert_with(|| output.clone());
            // Two f32 results, each a sum of I + H + 2 terms.
            let tolerance = 2.0 * (i + h + 2) as f32 * f32::EPSILON;
            assert!(output.data().iter().zip(expected.data()).all(|(a, b)| (a - b).abs() <= tolerance), "{name}");
            group.bench_function(BenchmarkId::new(name, format!("T={t},B={b},I={i},H={h}")), |bencher| {
                bencher.iter(|| placed.forward(black_box(&x), None).expect("a forward that fits"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
