//! Memory that grows with a caller's sizes: if it cannot be allocated, the result is an error instead of an abort.
//!
//! An allocator of this test program fails one large request after another, until the call gets everything it requests.
//! A request that the crate makes infallibly aborts the program, and with it the test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wgpu_rnn::{
    ConcatGates, Device, Error, Lstm, LstmConfig, LstmState, PackedSequence, Precision, Result, Tensor, TensorFile,
};

/// Requests of at least this size are counted: larger than anything of bounded length, smaller than every array of the
/// tests.
const LARGE: usize = 16 << 10;

/// The number of large requests that are still granted before one fails.
static GRANTED: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Failing;

fn is_granted(size: usize) -> bool {
    let count = |granted: usize| if granted == usize::MAX { None } else { Some(granted.wrapping_sub(1)) };
    size < LARGE || GRANTED.fetch_update(SeqCst, SeqCst, count) != Ok(0)
}

// SAFETY: every call is forwarded unchanged to the system's allocator or returns null, which the contract allows.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_granted(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_granted(size) { unsafe { System.realloc(pointer, layout, size) } } else { std::ptr::null_mut() }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Keeps the other tests of this program waiting: the switch applies to all of them, also while they prepare their
/// data.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the call with the first large request failing, then the second, and so on, until none does.
fn fail_each<T>(name: &str, least: usize, call: impl Fn() -> Result<T>) -> T {
    for failing in 0..1000 {
        GRANTED.store(failing, SeqCst);
        let result = call();
        // If a request has failed, the count has dropped below zero, which switches it off: no later request fails.
        let failed = GRANTED.swap(usize::MAX, SeqCst) == usize::MAX;
        match result {
            Ok(value) if !failed => {
                assert!(failing >= least, "{name}: only {failing} large requests");
                return value;
            }
            Ok(_) => panic!("{name}: request {failing} failed without an error"),
            Err(Error::TooLarge { .. }) => {}
            Err(error) => panic!("{name}: {error:?}"),
        }
    }
    panic!("{name}: no end");
}

fn lstm() -> Lstm {
    Lstm::random(LstmConfig::new(96, 80).with_proj_size(72), 1).unwrap()
}

#[test]
fn arrays() {
    let _alone = alone();
    let data = vec![1.0_f32; 10_000];
    let x = fail_each("a copy", 1, || Tensor::new([100, 100], &data));
    fail_each("zeros", 1, || Tensor::<f32>::zeros([100, 100]));
    fail_each("cast", 1, || x.cast::<f64>());
    fail_each("to_tensor", 1, || x.as_view().to_tensor());
}

#[test]
fn weights() {
    let _alone = alone();
    fail_each("random", 3, || Lstm::random(LstmConfig::new(96, 80).with_proj_size(72), 1));
    let lstm = lstm();
    fail_each("cast", 3, || lstm.cast::<f64>());
    let plain = Lstm::random(LstmConfig::new(96, 80), 1).unwrap();
    let gates: Vec<ConcatGates> = fail_each("to_concat_gates", 4, || plain.to_concat_gates());
    fail_each("from_concat_gates", 2, || Lstm::from_concat_gates(&gates));
}

#[test]
fn files() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = &folder.path().join("x");
    let lstm = lstm();
    fail_each("save", 0, || lstm.save_safetensors(path, ""));
    let file = TensorFile::open(path).unwrap();
    fail_each("open", 0, || TensorFile::open(path));
    // The array, and the buffer for reading it piece by piece.
    let tensor = fail_each("tensor", 2, || file.tensor::<f32>("weight_ih_l0")).unwrap();
    assert_eq!(fail_each("from_safetensors", 6, || Lstm::from_safetensors(path, "")), lstm);
    let bytes = fail_each("serialize", 1, || TensorFile::serialize(&[("x", &tensor)]));
    assert_eq!(fail_each("from_bytes", 1, || TensorFile::from_bytes(&bytes)).shape("x"), Some(&[320, 96][..]));
    let integers = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![5000], &[0; 40_000]).unwrap();
    let file = TensorFile::from_bytes(safetensors::serialize([("n", integers)], None).unwrap()).unwrap();
    fail_each("integers", 2, || file.integers("n"));
}

#[test]
fn packed_sequences() {
    let _alone = alone();
    let (steps, batch) = (4, 5000);
    let x = Tensor::<f32>::zeros([steps, batch, 2]).unwrap();
    let lengths: Vec<usize> = (0..batch).map(|row| 1 + row % steps).collect();
    let packed = fail_each("pack", 2, || PackedSequence::pack(&x, &lengths, false));
    fail_each("pad", 2, || packed.pad(false, 0.0, None));
    fail_each("unsorted_indices", 1, || packed.unsorted_indices());
    let long = Tensor::<f32>::zeros([5000, 2, 1]).unwrap();
    fail_each("pack of many steps", 2, || PackedSequence::pack(&long, &[5000, 3], false));
}

#[test]
fn forwards_on_the_cpu() {
    let _alone = alone();
    let lstm = lstm();
    let device = Device::cpu();
    fail_each("to", 3, || lstm.to(&device));
    fail_each("precision", 5, || lstm.place(&device).precision(Precision::F16).run());
    let x = Tensor::zeros([3, 100, 96]).unwrap();
    let state = LstmState { h: Tensor::zeros([1, 100, 72]).unwrap(), c: Tensor::zeros([1, 100, 80]).unwrap() };
    // The scalar path uses ndarray's matrix product, whose workspace has a bounded size but is allocated infallibly.
    if !has_vectors() {
        eprintln!("SKIPPED: no forward on a machine without vectors");
        return;
    }
    let placed = lstm.to(&device).unwrap();
    fail_each("forward", 4, || placed.forward(&x, Some(&state)));
    fail_each("forward from zeros", 4, || placed.forward(&x, None));
}

#[cfg(target_arch = "x86_64")]
fn has_vectors() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_vectors() -> bool {
    cfg!(target_arch = "aarch64")
}
