//! The times of the parts of a forward and of the operations around it: recording, placing, planning, one step of a
//! cell, and the CPU path with a single row. Results are checked before anything is timed. Benchmarks that need a GPU
//! are skipped if there is none.
//!
//! cargo bench --bench pieces

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{
    Device, GpuOptions, Lstm, LstmBuffers, LstmCell, LstmCellConfig, LstmConfig, LstmGradientBuffers, LstmKind,
    PlacedLstm, RecordedPass, Strategy, Tensor,
};

fn gpu() -> Option<Device> {
    Device::gpu(&GpuOptions::new()).inspect_err(|error| println!("skipped: {error}")).ok()
}

fn devices() -> Vec<Device> {
    std::iter::once(Device::cpu()).chain(gpu()).collect()
}

fn wave(shape: &[usize]) -> Tensor {
    let data: Vec<f32> = (0..shape.iter().product()).map(|n| (n as f32 * 0.37).sin()).collect();
    Tensor::new(shape, data).expect("a full tensor")
}

/// Compares with the reference, in f64 on the CPU; `terms` is the length of the longest sum.
fn check(name: &str, got: &[f32], expected: &Tensor<f64>, terms: usize) {
    let tolerance = f64::from(terms as f32 * f32::EPSILON);
    assert_eq!(got.len(), expected.data().len(), "{name}");
    assert!(got.iter().zip(expected.data()).all(|(&a, b)| (f64::from(a) - b).abs() <= tolerance), "{name}");
}

fn reference(lstm: &Lstm, x: &Tensor) -> Tensor<f64> {
    let placed = lstm.cast::<f64>().and_then(|lstm| lstm.to(&Device::cpu())).expect("a model that fits");
    placed.forward(&x.cast().expect("a full tensor"), None).expect("a forward that fits").0
}

/// Returns the gradient of the input of the reference, where that of the output is a wave.
fn of_input(lstm: &Lstm, x: &Tensor) -> Tensor<f64> {
    let placed = lstm.cast::<f64>().and_then(|lstm| lstm.to(&Device::cpu())).expect("a model that fits");
    let pass = placed.forward_train(&x.cast().expect("a full tensor"), None).expect("a pass that fits");
    let given = wave(pass.output().shape()).cast().expect("a full tensor");
    pass.backward(&given, None).expect("a gradient that fits").input().clone()
}

/// The difference in time steps between the two recordings that are compared.
const STEPS: usize = 256;

/// What is recorded.
#[derive(Clone, Copy)]
enum Part {
    /// A forward.
    Forward,
    /// A backward, of a forward that another encoder has.
    Backward,
}

/// Times `encode` and `encode_backward` of the smallest layer with 1 and with 257 steps: the difference is the cost of
/// recording 256 steps. wgpu keeps what they record in a list and turns it into the driver's commands in `finish`, so
/// both are timed.
fn recording(criterion: &mut Criterion) {
    let Some(device) = gpu() else { return };
    let (i, h) = (4, 8);
    let lstm = Lstm::random(LstmConfig::new(i, h), 0).expect("a valid configuration");
    let placed = lstm.to(&device).expect("a model that fits");
    placed.set_strategy(Strategy::Step).expect("the strategy of every shape");

    let dispatches = |t| placed.plan(t, 1).expect("a plan that fits").as_gpu().expect("a GPU").dispatch_count();
    assert_eq!(dispatches(1 + STEPS) - dispatches(1), STEPS);

    let mut group = criterion.benchmark_group("recording");
    for (part, name, finish) in [
        (Part::Forward, "encode", false),
        (Part::Forward, "encode and finish", true),
        (Part::Backward, "encode_backward", false),
        (Part::Backward, "encode_backward and finish", true),
    ] {
        let medians = [1, 1 + STEPS].map(|t| {
            let recording = Recording::new(&placed, t);
            match part {
                Part::Forward => check(name, &recording.run(), &reference(&lstm, &recording.x), i + h + 2),
                // Gradients of sums over all steps, of terms below 1.
                Part::Backward => check(name, &recording.run_backward(), &of_input(&lstm, &recording.x), t * 4 * h),
            }
            let mut all = Vec::new();
            group.bench_function(BenchmarkId::new(name, format!("T={t}")), |bencher| {
                bencher.iter_custom(|iterations| {
                    let start = all.len();
                    all.extend((0..iterations).map(|_| recording.time(part, finish)));
                    all[start..].iter().sum()
                });
            });
            all.sort();
            all.get(all.len() / 2).copied()
        });
        // Nothing was timed if the command line selected other benchmarks.
        if let [Some(one), Some(many)] = medians {
            let each = many.saturating_sub(one).as_secs_f64() * 1e6 / STEPS as f64;
            println!("recording/{name}: {each:.3} us per step\n");
        }
    }
    group.finish();
}

/// A layer with the caller's own buffers.
struct Recording<'a> {
    placed: &'a PlacedLstm,
    x: Tensor,
    /// Input, output, h_n, c_n, and the gradients of output and input.
    buffers: [wgpu::Buffer; 6],
    staging: wgpu::Buffer,
}

impl<'a> Recording<'a> {
    fn new(placed: &'a PlacedLstm, t: usize) -> Self {
        let (device, queue) = placed.device().wgpu().expect("a GPU");
        let (i, h) = (placed.config().input_size(), placed.config().hidden_size());
        let buffer = |elements: usize, usage| {
            let size = (elements * size_of::<f32>()) as u64;
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let usage = Use::STORAGE | Use::COPY_SRC | Use::COPY_DST;
        let (x, buffers) =
            (wave(&[t, 1, i]), [t * i, t * h, h, h, t * h, t * i].map(|elements| buffer(elements, usage)));
        queue.write_buffer(&buffers[0], 0, bytemuck::cast_slice(x.data()));
        queue.write_buffer(&buffers[4], 0, bytemuck::cast_slice(wave(&[t, 1, h]).data()));
        Self { placed, x, buffers, staging: buffer(t * h, Use::COPY_DST | Use::MAP_READ) }
    }

    fn forward(&self) -> LstmBuffers<'_> {
        let [input, output, h_n, c_n, ..] = &self.buffers;
        LstmBuffers::new(input, output, h_n, c_n)
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        self.placed.encode(encoder, self.x.shape()[0], 1, &self.forward()).expect("buffers that fit");
    }

    fn record_train(&self, encoder: &mut wgpu::CommandEncoder) -> RecordedPass<'_, LstmKind> {
        self.placed.encode_train(encoder, self.x.shape()[0], 1, &self.forward()).expect("buffers that fit")
    }

    fn record_backward(&self, pass: RecordedPass<'_, LstmKind>, encoder: &mut wgpu::CommandEncoder) {
        let [.., of_output, of_input] = &self.buffers;
        let buffers = LstmGradientBuffers::new().with_output(of_output).with_input(of_input);
        pass.encode_backward(encoder, &buffers).expect("buffers that fit");
    }

    /// Submits a recording of a forward and returns the output.
    fn run(&self) -> Vec<f32> {
        let (device, _) = self.placed.device().wgpu().expect("a GPU");
        let mut encoder = device.create_command_encoder(&Default::default());
        self.record(&mut encoder);
        self.submit(encoder, &self.buffers[1])
    }

    /// Submits a recording of a training pass and returns the gradient of the input.
    fn run_backward(&self) -> Vec<f32> {
        let (device, _) = self.placed.device().wgpu().expect("a GPU");
        let mut encoder = device.create_command_encoder(&Default::default());
        let pass = self.record_train(&mut encoder);
        self.record_backward(pass, &mut encoder);
        self.submit(encoder, &self.buffers[5])
    }

    /// Submits a recording and returns what it leaves in a buffer.
    fn submit(&self, mut encoder: wgpu::CommandEncoder, result: &wgpu::Buffer) -> Vec<f32> {
        let (device, queue) = self.placed.device().wgpu().expect("a GPU");
        encoder.copy_buffer_to_buffer(result, 0, &self.staging, 0, result.size());
        queue.submit([encoder.finish()]);
        self.staging.map_async(wgpu::MapMode::Read, .., |_| {});
        device.poll(wgpu::PollType::wait_indefinitely()).expect("a device that works");
        let data =
            bytemuck::pod_collect_to_vec(&self.staging.get_mapped_range(..result.size()).expect("a mapped buffer"));
        self.staging.unmap();
        data
    }

    /// Times one recording, which is then dropped.
    fn time(&self, part: Part, finish: bool) -> Duration {
        let (device, _) = self.placed.device().wgpu().expect("a GPU");
        // The writes left pending by the previous recording must not pile up.
        wait(self.placed.device());
        let [mut encoder, mut other] = [(); 2].map(|()| device.create_command_encoder(&Default::default()));
        let start = match part {
            Part::Forward => {
                let start = Instant::now();
                self.record(&mut encoder);
                start
            }
            Part::Backward => {
                let pass = self.record_train(&mut other);
                let start = Instant::now();
                self.record_backward(pass, &mut encoder);
                start
            }
        };
        let commands = finish.then(|| encoder.finish());
        let elapsed = start.elapsed();
        drop(commands);
        elapsed
    }
}

/// Waits until all writes are done.
fn wait(device: &Device) {
    if let Some((device, queue)) = device.wgpu() {
        queue.submit([]);
        device.poll(wgpu::PollType::wait_indefinitely()).expect("a device that works");
    }
}

/// Times packing 2 MiB of weights and, on a GPU, uploading them.
fn placing(criterion: &mut Criterion) {
    let (i, h) = (256, 256);
    let lstm = Lstm::random(LstmConfig::new(i, h), 0).expect("a valid configuration");
    let x = wave(&[1, 1, i]);
    for device in devices() {
        let place = || {
            let placed = lstm.to(&device).expect("a model that fits");
            wait(&device);
            placed
        };
        let (output, _) = place().forward(&x, None).expect("a forward that fits");
        check("placing", output.data(), &reference(&lstm, &x), i + h + 2);
        criterion
            .bench_function(&format!("placing/I={i},H={h}/{device}"), |bencher| bencher.iter_with_large_drop(place));
    }
}

/// Times planning a long sequence; the plan holds no list of its steps.
fn planning(criterion: &mut Criterion) {
    let Some(device) = gpu() else { return };
    let t = 100_000;
    let lstm = Lstm::random(LstmConfig::new(8, 8).with_num_layers(2), 0).expect("a valid configuration");
    let placed = lstm.to(&device).expect("a model that fits");
    placed.set_strategy(Strategy::Step).expect("the strategy of every shape");
    let plan = || placed.plan(black_box(t), 1).expect("a plan that fits");
    assert!(plan().as_gpu().expect("a GPU").dispatch_count() > 2 * t);
    criterion.bench_function(&format!("planning/T={t},L=2"), |bencher| bencher.iter(plan));
}

/// Times a step whose state stays on the device. On a GPU, every 64th step is waited for, so that the mean is the GPU's
/// time per step if that exceeds the time of a submission.
fn cell_step(criterion: &mut Criterion) {
    let (i, h) = (64, 64);
    let cell = LstmCell::random(LstmCellConfig::new(i, h), 0).expect("a valid configuration");
    let x = wave(&[1, i]);
    let expected = {
        let placed = cell.cast::<f64>().and_then(|cell| cell.to(&Device::cpu())).expect("a cell that fits");
        placed.forward(&x.cast().expect("a full tensor"), None).expect("a step that fits").h
    };
    for device in devices() {
        let placed = cell.to(&device).expect("a cell that fits");
        let mut state = placed.zero_state(1).run().expect("a state that fits");
        let mut step = || placed.step(black_box(&x), &mut state).expect("a step that fits");
        step();
        check("cell", state.read().run().expect("a state that was written").h.data(), &expected, i + h + 2);
        let mut step = || placed.step(black_box(&x), &mut state).expect("a step that fits");
        criterion.bench_function(&format!("cell step/I={i},H={h}/{device}"), |bencher| bencher.iter(&mut step));
    }
}

/// Times a layer so small that the overhead around the sums matters.
fn cpu_row(criterion: &mut Criterion) {
    let (t, i, h) = (100, 32, 32);
    let lstm = Lstm::random(LstmConfig::new(i, h), 0).expect("a valid configuration");
    let (placed, x) = (lstm.to(&Device::cpu()).expect("a model that fits"), wave(&[t, 1, i]));
    let forward = || placed.forward(black_box(&x), None).expect("a forward that fits");
    check("row", forward().0.data(), &reference(&lstm, &x), i + h + 2);
    criterion.bench_function(&format!("one row/T={t},I={i},H={h}/CPU"), |bencher| bencher.iter(forward));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = recording, placing, planning, cell_step, cpu_row
}
criterion_main!(benches);
