//! Properties of a whole process, each tested in a separate child process: its wgpu instances, its memory, its threads.

use std::process::Command;
use std::sync::Barrier;

use wgpu_rnn::{Device, Error, GpuOptions, Gru, GruBuffers, GruConfig, Lstm, LstmConfig, wgpu};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, oracle, skipped, uniform};

/// Runs a test of this file, which is otherwise ignored, in a separate process.
fn in_child(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("processes::{test}"), "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ran = stdout.contains("1 passed");
    assert!(output.status.success() && ran, "{test} with {variables:?}: {}\n{stdout}\n{stderr}", output.status);
}

/// Runs `work` on several threads that start at the same time.
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

fn opengl() -> GpuOptions {
    GpuOptions::new().with_backends(wgpu::Backends::GL)
}

/// Checks that a forward on a device agrees with the reference.
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

/// The backends include OpenGL, whose context belongs to one thread at a time.
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

/// Returns the resident memory of this process in bytes.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    // The page size of every Linux that runs these tests is at least 4 KiB.
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by dropped_recordings_leave_nothing_behind"]
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
    // Everything that is kept for later recordings exists after the first few.
    record(50);
    let before = resident_bytes();
    record(1000);
    let grown = resident_bytes().saturating_sub(before);
    // The lengths and rows of each recording take 160 kB: less than a tenth of that in total may remain.
    assert!(grown < 16_000_000, "{grown} bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn dropped_recordings_leave_nothing_behind() {
    in_child("drop_recordings", &[]);
}

/// Returns the number of threads of this process that the crate started.
#[cfg(target_os = "linux")]
fn own_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread that has ended in the meantime has no name.
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.trim_end() == "wgpu-rnn").count()
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by a_cpu_device_stays_within_its_number_of_threads"]
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
        // The caller's thread counts as one of them. A busy machine may start none.
        assert!(most < threads, "{most} additional threads, with a limit of {threads} in total");
        if most + 1 < threads {
            skipped(format!("{most} additional threads were seen, with a limit of {threads} in total"));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_cpu_device_stays_within_its_number_of_threads() {
    in_child("count_threads", &[]);
}
