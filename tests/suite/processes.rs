//! What belongs to a whole process, each in a child process of its own: its wgpu instances, its memory, its threads.

use std::io::Write;
use std::process::Command;
use std::sync::Barrier;

use wgpu_rnn::{Device, Error, GpuOptions, Gru, GruBuffers, GruConfig, Lstm, LstmConfig, wgpu};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, oracle, uniform};

/// Runs a test of this file, which is ignored otherwise, in a process of its own.
fn in_child(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("processes::{test}"), "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ran = stdout.contains("1 passed");
    assert!(output.status.success() && ran, "{test} with {variables:?}: {}\n{stdout}\n{stderr}", output.status);
}

/// Runs `work` on some threads that start at the same time.
fn at_once(threads: usize, work: impl Fn() + Sync) {
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                work();
            });
        }
    });
}

fn skipped(why: impl std::fmt::Display) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED, {why}: {test}");
}

fn opengl() -> GpuOptions {
    GpuOptions::new().with_backends(wgpu::Backends::GL)
}

/// A forward on a device gives the numbers of the oracle.
fn check_forward(device: &Device) {
    let lstm = Lstm::random(LstmConfig::new(3, 5), 1).unwrap();
    let x = uniform(&[4, 2, 3], 3);
    let (expected, _) = oracle(&lstm, &x, None);
    let (output, _) = lstm.to(device).unwrap().forward(&x, None).unwrap();
    compare("the output", output.data(), expected.data(), Tolerance::of_f32_sum(32)).unwrap();
}

#[test]
#[ignore = "run by devices_are_found_and_opened_on_several_threads_at_once"]
fn find_and_open_at_once() {
    at_once(4, || {
        Device::adapters();
        check_forward(&Device::auto());
    });
}

/// Among the backends is OpenGL, whose context belongs to one thread at a time.
#[test]
fn devices_are_found_and_opened_on_several_threads_at_once() {
    for backends in ["", "gl", "vulkan,gl"] {
        for _ in 0..3 {
            in_child("find_and_open_at_once", &[("WGPU_BACKEND", backends)]);
        }
    }
}

#[test]
#[ignore = "run by opengl_devices_run_on_several_threads_at_once"]
fn run_opengl_at_once() {
    at_once(4, || {
        for _ in 0..3 {
            match Device::gpu(&opengl()) {
                Ok(device) => check_forward(&device),
                Err(error @ Error::NoAdapter { .. }) => return skipped(error),
                Err(error) => panic!("{error}"),
            }
            Device::adapters();
        }
    });
}

#[test]
fn opengl_devices_run_on_several_threads_at_once() {
    for _ in 0..3 {
        in_child("run_opengl_at_once", &[]);
    }
}

/// Bytes that this process has in memory.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    // The page size of every Linux that has these tests run is 4 KiB or more.
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by recordings_that_are_dropped_leave_nothing"]
fn drop_recordings() {
    use wgpu::BufferUsages as Use;
    let Some(gpu) = gpu() else { return };
    let model = Gru::random(GruConfig::new(1, 1), 1).unwrap().to(&gpu).unwrap();
    let (device, _) = gpu.wgpu().unwrap();
    let rows = 20_000;
    let [input, output, h_n] = [(); 3].map(|()| {
        let (size, usage) = (4 * rows as u64, Use::STORAGE | Use::COPY_SRC | Use::COPY_DST);
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    });
    let record = |times: usize| {
        for _ in 0..times {
            let mut encoder = device.create_command_encoder(&Default::default());
            model.encode(&mut encoder, 1, rows, &GruBuffers::new(&input, &output, &h_n)).unwrap();
        }
    };
    // What is kept for the recordings to come is there after the first.
    record(50);
    let before = resident_bytes();
    record(1000);
    let grown = resident_bytes().saturating_sub(before);
    // Lengths and rows of each are 160 kB: a tenth of them must not have stayed.
    assert!(grown < 16_000_000, "{grown} bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn recordings_that_are_dropped_leave_nothing() {
    in_child("drop_recordings", &[]);
}

/// Threads of this process that the crate started.
#[cfg(target_os = "linux")]
fn own_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread that has ended since has no name.
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.trim_end() == "wgpu-rnn").count()
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by a_cpu_device_uses_no_more_threads_than_it_may"]
fn count_threads() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};
    let lstm = Lstm::random(LstmConfig::new(64, 256), 1).unwrap();
    let x = uniform(&[40, 16, 64], 2);
    let mut expected = None;
    for threads in [1, 2, 3] {
        let model = lstm.to(&Device::cpu_with(threads).unwrap()).unwrap();
        let done = AtomicBool::new(false);
        let most = std::thread::scope(|scope| {
            let counter = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = own_threads().max(most);
                }
                most
            });
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(1500) {
                let output = bits(&model.forward(&x, None).unwrap().0);
                assert_eq!(&output, expected.get_or_insert_with(|| output.clone()), "{threads} threads");
            }
            done.store(true, Ordering::Relaxed);
            counter.join().unwrap()
        });
        // The caller's thread is one of them. A busy machine may start none.
        assert!(most < threads, "{most} more threads, of {threads} in all");
        if most + 1 < threads {
            skipped(format!("{most} more threads were seen, of {threads} in all"));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_cpu_device_uses_no_more_threads_than_it_may() {
    in_child("count_threads", &[]);
}
