//! Recording into the caller's encoder, over the caller's buffers.

use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{
    Buffers, Config, Device, Error, GpuOptions, GruBuffers, GruConfig, Kind, Layer, Lstm, LstmBuffers, LstmConfig,
    LstmState, Mode, PlacedLstm, RnnBuffers, RnnConfig, Tensor,
};

use crate::support::{adapter_under_test, bits, gpu, slice, state, uniform};

pub struct Arena<'a> {
    pub device: &'a wgpu::Device,
    pub queue: &'a wgpu::Queue,
}

impl Arena<'_> {
    /// A buffer of `data`, with room behind it.
    pub fn buffer(&self, data: &[f32]) -> wgpu::Buffer {
        let usage = Use::STORAGE | Use::COPY_SRC | Use::COPY_DST;
        let size = (data.len() * 4 + 64) as u64;
        let buffer =
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(data));
        buffer
    }

    /// A buffer that nobody has written to: an element that stays NaN was not computed.
    pub fn poisoned(&self, elements: usize) -> wgpu::Buffer {
        self.buffer(&vec![f32::NAN; elements])
    }

    pub fn read(&self, buffer: &wgpu::Buffer, elements: usize) -> Vec<f32> {
        let size = (elements * 4) as u64;
        let usage = Use::MAP_READ | Use::COPY_DST;
        let staging =
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let view = staging.get_mapped_range(..).unwrap();
        bytemuck::pod_collect_to_vec(&view)
    }
}

fn placed(gpu: &Device, config: LstmConfig) -> PlacedLstm {
    Lstm::random(config, 1).unwrap().to(gpu).unwrap()
}

/// Records `layer` over buffers of its kind and compares with a forward; `buffers` takes input, output, last states
/// and, optionally, initial states.
fn check_recorded<K: Kind>(
    gpu: &Device,
    config: Config<K>,
    buffers: impl for<'a> Fn(&'a [wgpu::Buffer], Option<&'a [wgpu::Buffer]>) -> Buffers<'a, K>,
) {
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let (t, b) = (5, 3);
    let model = Layer::random(config.clone(), 1).unwrap().to(gpu).unwrap();
    let shape = if config.batch_first() { [b, t, 4] } else { [t, b, 4] };
    let (x, initial) = (uniform(&shape, 2), state(&config, b, 3));
    for initial in [None, Some(&initial)] {
        let (output, last) = model.forward(&x, initial).unwrap();
        let expected: Vec<&Tensor> = std::iter::once(&output).chain(K::arrays(&last)).collect();
        let mut own = vec![arena.buffer(x.data())];
        own.extend(expected.iter().map(|array| arena.poisoned(array.data().len())));
        let first: Option<Vec<_>> =
            initial.map(|state| K::arrays(state).into_iter().map(|array| arena.buffer(array.data())).collect());
        let buffers = buffers(&own, first.as_deref());
        let mut encoder = device.create_command_encoder(&Default::default());
        model.encode(&mut encoder, t, b, &buffers).unwrap();
        queue.submit([encoder.finish()]);
        // The async form records the same; a second run over its own results changes nothing.
        let mut again = device.create_command_encoder(&Default::default());
        pollster::block_on(model.request_encode(&mut again, t, b, &buffers)).unwrap();
        queue.submit([again.finish()]);
        for (n, expected) in expected.iter().enumerate() {
            let got = Tensor::new(expected.shape(), arena.read(&own[n + 1], expected.data().len())).unwrap();
            assert_eq!(bits(&got), bits(expected), "result {n} of {config}");
        }
    }
}

#[test]
fn a_recorded_forward_is_a_forward() {
    let Some(gpu) = gpu() else { return };
    fn lstm<'a>(own: &'a [wgpu::Buffer], first: Option<&'a [wgpu::Buffer]>) -> LstmBuffers<'a> {
        let buffers = LstmBuffers::new(&own[0], &own[1], &own[2], &own[3]);
        first.map_or(buffers.clone(), |first| buffers.with_initial(&first[0], &first[1]))
    }
    for config in [
        LstmConfig::new(4, 9),
        LstmConfig::new(4, 9).with_num_layers(3).with_bidirectional(true),
        LstmConfig::new(4, 9).with_num_layers(2).with_batch_first(true).with_bias(false),
        LstmConfig::new(4, 9).with_num_layers(2).with_proj_size(4).with_bidirectional(true),
    ] {
        check_recorded(&gpu, config, lstm);
    }
    fn gru<'a>(own: &'a [wgpu::Buffer], first: Option<&'a [wgpu::Buffer]>) -> GruBuffers<'a> {
        let buffers = GruBuffers::new(&own[0], &own[1], &own[2]);
        first.map_or(buffers.clone(), |first| buffers.with_initial(&first[0]))
    }
    let config = GruConfig::new(4, 9).with_num_layers(2);
    check_recorded(&gpu, config.clone(), gru);
    check_recorded(&gpu, config.with_reset_after(false).with_bidirectional(true), gru);
    check_recorded(&gpu, RnnConfig::new(4, 9).with_bidirectional(true), |own, first| {
        let buffers = RnnBuffers::new(&own[0], &own[1], &own[2]);
        first.map_or(buffers.clone(), |first| buffers.with_initial(&first[0]))
    });
}

/// One encoder, several forwards, the state carried in place from one to the next.
#[test]
fn a_state_is_carried_on_the_device() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let config = LstmConfig::new(3, 7).with_num_layers(2);
    let model = placed(&gpu, config.clone());
    let (t, b) = (4, 2);
    let (x, initial) = (uniform(&[3 * t, b, 3], 4), state(&config, b, 5));
    let (expected, last) = model.forward(&x, Some(&initial)).unwrap();

    let (h, c) = (arena.buffer(initial.h.data()), arena.buffer(initial.c.data()));
    let pieces: Vec<_> = (0..3).map(|n| slice(&x, 0, n * t..(n + 1) * t)).collect();
    let inputs: Vec<_> = pieces.iter().map(|piece| arena.buffer(piece.data())).collect();
    let outputs: Vec<_> = (0..3).map(|_| arena.poisoned(t * b * 7)).collect();
    let mut encoder = device.create_command_encoder(&Default::default());
    for (input, output) in inputs.iter().zip(&outputs) {
        model.encode(&mut encoder, t, b, &LstmBuffers::new(input, output, &h, &c).with_initial(&h, &c)).unwrap();
    }
    // No steps, no rows: nothing changes.
    model.encode(&mut encoder, 0, b, &LstmBuffers::new(&inputs[0], &outputs[0], &h, &c).with_initial(&h, &c)).unwrap();
    model.encode(&mut encoder, t, 0, &LstmBuffers::new(&inputs[0], &outputs[0], &h, &c).with_initial(&h, &c)).unwrap();
    queue.submit([encoder.finish()]);
    let got: Vec<f32> = outputs.iter().flat_map(|output| arena.read(output, t * b * 7)).collect();
    assert_eq!(bits(&Tensor::new(expected.shape(), got).unwrap()), bits(&expected));
    let end = LstmState {
        h: Tensor::new(last.h.shape(), arena.read(&h, 2 * b * 7)).unwrap(),
        c: Tensor::new(last.c.shape(), arena.read(&c, 2 * b * 7)).unwrap(),
    };
    assert_eq!((bits(&end.h), bits(&end.c)), (bits(&last.h), bits(&last.c)));
}

/// Two recordings of one shape with lengths and masks of their own, submitted together.
#[test]
fn recordings_keep_their_own_options() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let config = LstmConfig::new(3, 7).with_num_layers(2).with_bidirectional(true).with_dropout(0.5);
    let (recorded, expected) = (placed(&gpu, config.clone()), placed(&gpu, config));
    let (t, b) = (4, 3);
    let x = uniform(&[t, b, 3], 4);
    for mode in [Mode::Evaluation, Mode::Training { seed: 5 }] {
        recorded.set_mode(mode);
        expected.set_mode(mode);
        let input = arena.buffer(x.data());
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut results = Vec::new();
        for lengths in [[4, 1, 2], [0, 4, 3]] {
            let own = [t * b * 14, 4 * b * 7, 4 * b * 7].map(|elements| arena.poisoned(elements));
            let buffers = LstmBuffers::new(&input, &own[0], &own[1], &own[2]);
            recorded.request_encode(&mut encoder, t, b, &buffers).lengths(&lengths).padding_value(5.0).run().unwrap();
            results.push((own, expected.request(&x).lengths(&lengths).padding_value(5.0).run().unwrap()));
        }
        queue.submit([encoder.finish()]);
        for (own, (output, last)) in results {
            for (buffer, expected) in own.iter().zip([&output, &last.h, &last.c]) {
                let got = Tensor::new(expected.shape(), arena.read(buffer, expected.data().len())).unwrap();
                assert_eq!(bits(&got), bits(expected), "{mode:?}");
            }
        }
    }
    let own = [t * b * 3, t * b * 14, 4 * b * 7, 4 * b * 7].map(|elements| arena.poisoned(elements));
    let buffers = LstmBuffers::new(&own[0], &own[1], &own[2], &own[3]);
    let mut encoder = device.create_command_encoder(&Default::default());
    assert_eq!(
        recorded.request_encode(&mut encoder, t, b, &buffers).lengths(&[5, 1, 1]).run().unwrap_err().to_string(),
        "lengths: expected lengths of at most T, the time steps of the input, got 5 for row 0, with T = 4"
    );
}

#[test]
fn buffers_that_do_not_fit_are_named() {
    let Some(gpu) = gpu() else { return };
    let (device, _) = gpu.wgpu().unwrap();
    let model = placed(&gpu, LstmConfig::new(4, 9));
    let make = |size: u64, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let all = Use::STORAGE | Use::COPY_SRC | Use::COPY_DST;
    let [input, output, h, c] = [240, 540, 108, 108].map(|size| make(size, all));
    let (small, unusable) = (make(104, all), make(4096, Use::COPY_DST | Use::COPY_SRC));
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut rejected = |buffers: LstmBuffers<'_>| {
        let error = model.encode(&mut encoder, 5, 3, &buffers).unwrap_err();
        assert!(matches!(error, Error::Buffer { .. }), "{error}");
        error.to_string()
    };
    assert_eq!(
        rejected(LstmBuffers::new(&small, &output, &h, &c)),
        "buffer input: expected at least 240 bytes, got 104 bytes"
    );
    assert_eq!(
        rejected(LstmBuffers::new(&input, &small, &h, &c)),
        "buffer output: expected at least 540 bytes, got 104 bytes"
    );
    assert_eq!(
        rejected(LstmBuffers::new(&input, &output, &h, &c).with_initial(&small, &c)),
        "buffer h_0: expected at least 108 bytes, got 104 bytes"
    );
    assert_eq!(
        rejected(LstmBuffers::new(&unusable, &output, &h, &c)),
        "buffer input: expected usages BufferUsages(STORAGE), got BufferUsages(COPY_SRC | COPY_DST)"
    );
    assert_eq!(
        rejected(LstmBuffers::new(&input, &output, &h, &h)),
        "buffer c_n: expected a range apart from h_n's, got bytes 0..108 and bytes 0..108 of one buffer"
    );
    assert_eq!(
        rejected(LstmBuffers::new(&input, &input, &h, &c)),
        "buffer output: expected a range apart from input's, got bytes 0..540 and bytes 0..240 of one buffer"
    );

    assert_eq!(
        rejected(LstmBuffers::new(&input, &output, &h, &c).with_initial(&c, &h)),
        "buffer h_0: expected a range apart from c_n's, got bytes 0..108 and bytes 0..108 of one buffer"
    );

    // The rejected recordings left nothing in the encoder.
    model.encode(&mut encoder, 5, 3, &LstmBuffers::new(&input, &output, &h, &c)).unwrap();
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    encoder.finish();
    assert!(pollster::block_on(scope.pop()).is_none());

    let cpu = Lstm::random(LstmConfig::new(4, 9), 1).unwrap().to(&Device::cpu()).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    let error = cpu.encode(&mut encoder, 5, 3, &LstmBuffers::new(&input, &output, &h, &c)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "recording into a command encoder on the CPU is not supported: place the model on a GPU device"
    );
}

/// Of one wgpu instance, that is, as all devices are that this crate opens: instances do not know each other's buffers.
#[test]
fn a_buffer_of_another_device_is_an_error_before_anything_is_recorded() {
    if gpu().is_none() {
        return;
    }
    let adapter = adapter_under_test();
    let open = || pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let (own, queue) = open();
    check_foreign(&Device::from_wgpu(own, queue), &open().0);
    let [own, other] = [(); 2].map(|()| Device::gpu(&GpuOptions::new()).unwrap());
    check_foreign(&own, other.wgpu().unwrap().0);
}

fn check_foreign(device: &Device, other: &wgpu::Device) {
    let (own, _) = device.wgpu().unwrap();
    let model = placed(device, LstmConfig::new(1, 1));
    let usage = Use::STORAGE | Use::COPY_SRC | Use::COPY_DST;
    let make = |device: &wgpu::Device| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 64, usage, mapped_at_creation: false })
    };
    let [output, h, c] = [(); 3].map(|()| make(own));
    let foreign = make(other);
    let mut encoder = own.create_command_encoder(&Default::default());
    let error = model.encode(&mut encoder, 1, 1, &LstmBuffers::new(&foreign, &output, &h, &c)).unwrap_err();
    assert!(matches!(error, Error::Gpu { during: "binding buffers", .. }), "{error}");
    let expected = "wgpu rejected a call while binding buffers: one of the buffers is of another wgpu::Device: ";
    assert!(error.to_string().starts_with(expected), "{error}");
}

/// Frameworks place many tensors in one buffer: all arrays of a call may be ranges of one, also an initial state and
/// its last one, which no command can copy directly.
#[test]
fn all_arrays_may_be_ranges_of_one_buffer() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let arena = Arena { device, queue };
    let (t, b) = (5, 3);
    for config in [LstmConfig::new(4, 9), LstmConfig::new(4, 9).with_num_layers(2).with_bidirectional(true)] {
        let model = placed(&gpu, config.clone());
        let (x, initial) = (uniform(&[t, b, 4], 2), state(&config, b, 3));
        let (output, last) = model.forward(&x, &initial).unwrap();
        let sizes = model.buffer_sizes(t, b).unwrap();
        assert_eq!(sizes.output, 4 * output.data().len() as u64);
        let (h, c) = (sizes.h, sizes.c.unwrap());
        // Input, output, h_0, c_0, h_n, c_n, each from a multiple of what every device accepts.
        let align = |bytes: u64| bytes.next_multiple_of(256);
        let mut at = 0;
        let places = [sizes.input, sizes.output, h, c, h, c].map(|bytes| {
            let place = at..at + bytes;
            at = align(place.end);
            place
        });
        let pool = arena.poisoned(at as usize / 4);
        let put = |n: usize, tensor: &Tensor| {
            queue.write_buffer(&pool, places[n].start, bytemuck::cast_slice(tensor.data()));
        };
        put(0, &x);
        put(2, &initial.h);
        put(3, &initial.c);
        let [x_at, y_at, h_0, c_0, h_n, c_n] = places.clone().map(|place| pool.slice(place));
        let buffers = LstmBuffers::new(x_at, y_at, h_n, c_n).with_initial(h_0, c_0);
        let mut encoder = device.create_command_encoder(&Default::default());
        model.encode(&mut encoder, t, b, &buffers).unwrap();
        queue.submit([encoder.finish()]);
        let all = arena.read(&pool, at as usize / 4);
        for (n, expected) in [(1, &output), (4, &last.h), (5, &last.c), (2, &initial.h), (3, &initial.c)] {
            let got = &all[places[n].start as usize / 4..places[n].end as usize / 4];
            assert_eq!(got, expected.data(), "{config}, array {n}");
        }
    }
}

#[test]
fn ranges_that_overlap_or_are_not_aligned_are_named() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let pool = Arena { device, queue }.poisoned(4096);
    let model = placed(&gpu, LstmConfig::new(4, 9));
    let mut encoder = device.create_command_encoder(&Default::default());
    // x takes 240 bytes, y 540, h and c 108 each.
    let mut rejected = |[x, y, h, c]: [u64; 4], initial: Option<[u64; 2]>| {
        let from = |at: u64| pool.slice(at..);
        let buffers = LstmBuffers::new(from(x), from(y), from(h), from(c));
        let buffers = match initial {
            Some([h_0, c_0]) => buffers.with_initial(from(h_0), from(c_0)),
            None => buffers,
        };
        model.encode(&mut encoder, 5, 3, &buffers).unwrap_err().to_string()
    };
    assert_eq!(
        rejected([0, 256, 768, 1024], None),
        "buffer h_n: expected a range apart from output's, got bytes 768..876 and bytes 256..796 of one buffer"
    );
    assert_eq!(
        rejected([0, 256, 1024, 1280], Some([1536, 1344])),
        "buffer c_0: expected a range apart from c_n's, got bytes 1344..1452 and bytes 1280..1388 of one buffer"
    );
    let alignment = device.limits().min_storage_buffer_offset_alignment;
    assert_eq!(
        rejected([4, 256, 1024, 1280], None),
        format!("buffer input: expected an offset that is a multiple of {alignment}, got 4")
    );
    assert_eq!(rejected([0, 256, 1024, 16_384], None), "buffer c_n: expected at least 108 bytes, got 64 bytes");
}
