//! Shared by the tests: the GPU under test, and seeded data.

use std::fmt::Display;
use std::io::Write;
use std::sync::OnceLock;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use wgpu_rnn::{Config, Device, Error, GpuOptions, Gradients, Kind, Layer, Lstm, LstmConfig, Real, Tensor, wgpu};

/// Returns the GPU under test, one for the whole process; `None` if there is no adapter and none is required.
pub fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    let device = GPU.get_or_init(|| match Device::gpu(&GpuOptions::new()) {
        Ok(device) => Some(under_test(device)),
        Err(error @ Error::NoAdapter { .. }) if std::env::var_os("WGPU_RNN_REQUIRE_GPU").is_none_or(|v| v != "1") => {
            // Written directly to stderr, because the output of a passing test is hidden.
            let _ = writeln!(std::io::stderr(), "{error}");
            None
        }
        Err(error) => panic!("WGPU_RNN_REQUIRE_GPU: {error}"),
    });
    if device.is_none() {
        skipped("no GPU adapter");
    }
    device.clone()
}

/// Prints the reason for skipping a test. Written directly to stderr, because the output of a passing test is hidden.
pub fn skipped(why: impl Display) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED, {why}: {test}");
}

/// Returns a device with the tiles under test: its own or, with `WGPU_RNN_TEST_TILES=hardware`, those of a real GPU
/// even on a software adapter.
pub fn under_test(device: Device) -> Device {
    match std::env::var_os("WGPU_RNN_TEST_TILES") {
        None => device,
        Some(tiles) if tiles == "hardware" => device.with_hardware_tiles().unwrap(),
        Some(tiles) => panic!("WGPU_RNN_TEST_TILES={}: the only valid value is hardware", tiles.display()),
    }
}

/// Runs a check on the CPU and on the GPU under test.
pub fn on_both(check: impl Fn(&Device)) {
    [Some(Device::cpu()), gpu()].iter().flatten().for_each(check);
}

/// Returns the adapter of [`gpu`], in an instance of the caller's. Other adapters may exist, and give different bits.
pub fn adapter_under_test() -> wgpu::Adapter {
    let under_test = gpu().unwrap();
    let wanted = under_test.adapter_info().unwrap();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let same = |info: wgpu::AdapterInfo| info.name == wanted.name && info.backend == wanted.backend;
    adapters.into_iter().find(|adapter| same(adapter.get_info())).unwrap()
}

/// Creates a caller's device with limits that it chose, on the adapter under test.
pub fn own_device(limits: impl FnOnce(&mut wgpu::Limits)) -> (wgpu::Device, wgpu::Queue) {
    let adapter = adapter_under_test();
    let mut required_limits = adapter.limits();
    limits(&mut required_limits);
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    pollster::block_on(adapter.request_device(&descriptor)).unwrap()
}

/// Returns the message of a result that must be an error.
pub fn message<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

pub fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape).unwrap()
}

/// Returns values uniform in ±1, always the same for a seed.
pub fn uniform(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Pcg64::seed_from_u64(seed);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..=1.0)).collect();
    Tensor::new(shape, data).unwrap()
}

/// Returns a model for tests in which its sizes do not matter.
pub fn small_lstm() -> Lstm {
    Lstm::random(LstmConfig::new(3, 5), 1).unwrap()
}

/// Returns a random state for a batch.
pub fn state<K: Kind>(config: &Config<K>, batch: usize, seed: u64) -> K::State<f32> {
    let layers = config.num_layers() * config.directions();
    // The sizes of h, which a projection makes smaller, and c.
    let sizes = [config.recurrent_size(), config.hidden_size()];
    let array = |s: usize| uniform(&[layers, batch, sizes[s]], seed + s as u64);
    K::state((0..K::STATES).map(array).collect()).unwrap()
}

pub fn to_f64<K: Kind>(state: &K::State<f32>) -> K::State<f64> {
    K::state(K::arrays(state).into_iter().map(|array| array.cast().unwrap()).collect()).unwrap()
}

/// Returns the reference result: f64 on the CPU from the same f32 numbers.
pub fn oracle<K: Kind>(
    layer: &Layer<K>,
    input: &Tensor,
    state: Option<&K::State<f32>>,
) -> (Tensor<f64>, K::State<f64>) {
    let placed = layer.cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
    placed.forward(&input.cast().unwrap(), state.map(to_f64::<K>).as_ref()).unwrap()
}

/// Returns the number of terms of the longest sum of a gate: inputs, hidden units, two biases.
pub fn reduction_length<K: Kind>(config: &Config<K>) -> usize {
    let between = if config.num_layers() > 1 { config.directions() * config.hidden_size() } else { 0 };
    config.input_size().max(between) + config.hidden_size() + 2
}

/// Returns every gradient by name.
pub fn every_gradient<K: Kind, F: Real>(gradients: &Gradients<K, F>) -> Vec<(String, &Tensor<F>)> {
    let states = ["h_0", "c_0"].into_iter().zip(K::arrays(gradients.initial_state()));
    let of_states = states.map(|(key, state)| (key.to_owned(), state));
    std::iter::once(("input".to_owned(), gradients.input()))
        .chain(of_states)
        .chain(gradients.weights().named().unwrap())
        .collect()
}

pub fn bits<F: Real>(tensor: &Tensor<F>) -> Vec<u64> {
    tensor.data().iter().map(|v| v.to_f64().to_bits()).collect()
}

/// Returns the rows `range` of dimension `dim`.
pub fn slice<F: Real>(tensor: &Tensor<F>, dim: usize, range: std::ops::Range<usize>) -> Tensor<F> {
    let shape = tensor.shape();
    let inner: usize = shape[dim + 1..].iter().product();
    let outer = tensor.data().chunks_exact((shape[dim] * inner).max(1));
    let data: Vec<F> = outer.flat_map(|rows| rows[range.start * inner..range.end * inner].to_vec()).collect();
    let mut sliced = shape.to_vec();
    sliced[dim] = range.len();
    Tensor::new(sliced, data).unwrap()
}

/// Returns the rows of dimension `dim` that `order` lists, in its order.
pub fn permute<F: Real>(tensor: &Tensor<F>, dim: usize, order: &[usize]) -> Tensor<F> {
    let shape = tensor.shape();
    let inner: usize = shape[dim + 1..].iter().product();
    let outer = tensor.data().chunks_exact(shape[dim] * inner);
    let data: Vec<F> = outer
        .flat_map(|rows| order.iter().flat_map(|&i| rows[i * inner..(i + 1) * inner].to_vec()).collect::<Vec<_>>())
        .collect();
    let mut permuted = shape.to_vec();
    permuted[dim] = order.len();
    Tensor::new(permuted, data).unwrap()
}
